# One WhatsApp session. Built from the root of the project:
#   docker build -f docker/worker.Dockerfile -t flotilla-worker .
ARG BASE_IMAGE=node:24-bookworm-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY scripts/build.mjs scripts/
COPY src src
RUN node scripts/build.mjs

FROM ${BASE_IMAGE} AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="flotilla-worker" \
      org.opencontainers.image.description="One WhatsApp session of a Flotilla fleet" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT"
ENV NODE_ENV=production
WORKDIR /app
COPY --from=packages /app/node_modules node_modules
COPY package.json LICENSE ./
COPY --from=build /app/dist/kernel dist/kernel
COPY --from=build /app/dist/protocol dist/protocol
COPY --from=build /app/dist/worker dist/worker
# What Node would compile at each start, compiled once. It holds for this user and these flags alone, and is only
# read from then on.
ENV NODE_COMPILE_CACHE=/app/compiled
RUN install -d -o node -g node compiled
USER node
RUN node --max-semi-space-size=1 --optimize-for-size --input-type=module -e " \
      import { flushCompileCache } from 'node:module'; \
      await import('/app/dist/worker/worker.js'); \
      const { loadProvider, providerNames } = await import('/app/dist/worker/providers/registry.js'); \
      await Promise.all(providerNames().map(loadProvider)); \
      flushCompileCache(); \
      process.exit();"
# No limit for the heap: Node derives it from the container's. The runtime starts it below an init process.
ENTRYPOINT ["node", "--max-semi-space-size=1", "--optimize-for-size"]
CMD ["dist/worker/main.js"]
