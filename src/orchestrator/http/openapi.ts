import { OpenAPIRegistry, OpenApiGeneratorV31 } from '@asteasolutions/zod-to-openapi';

export function createRegistry(): OpenAPIRegistry {
  const registry = new OpenAPIRegistry();
  registry.registerComponent('securitySchemes', 'management', {
    type: 'apiKey',
    in: 'header',
    name: 'X-API-KEY',
  });
  registry.registerComponent('securitySchemes', 'worker', {
    type: 'apiKey',
    in: 'header',
    name: 'X-Webhook-Secret',
  });
  return registry;
}

/** The OpenAPI 3.1 document of everything that was registered. */
export function openApiDocument(registry: OpenAPIRegistry, version: string): object {
  return new OpenApiGeneratorV31(registry.definitions).generateDocument({
    openapi: '3.1.0',
    info: {
      title: 'Flotilla',
      version,
      description: 'A self-hosted, queue-driven fleet of WhatsApp sessions.',
      license: { name: 'MIT' },
    },
    servers: [{ url: '/' }],
  });
}
