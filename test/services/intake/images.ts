/** The smallest images of each kind that are taken: two red pixels square. */
const bytes = (base64: string): Buffer<ArrayBuffer> => Buffer.from(base64, 'base64') as Buffer<ArrayBuffer>;

export const images = {
  png: bytes(
    'iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAMAAABFaP0WAAAAA1BMVEX/AAAZ4gk3AAAACXBIWXMAAAPoAAAD6AG1e1' +
      'JrAAAAC0lEQVQImWNgAAEAAAYAAeaH/n8AAAAASUVORK5CYII=',
  ),
  jpeg: bytes(
    '/9j/2wBDAP////////////////////////////////////////////////////////////////////////////////' +
      '//////2wBDAf//////////////////////////////////////////////////////////////////////////////' +
      '////////wAARCAACAAIDASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAL/xAAUEAEAAAAAAAAAAAAAAAAAAA' +
      'AA/8QAFQEBAQAAAAAAAAAAAAAAAAAAAQP/xAAUEQEAAAAAAAAAAAAAAAAAAAAA/9oADAMBAAIRAxEAPwCQAo//2Q==',
  ),
  webp: bytes('UklGRjIAAABXRUJQVlA4ICYAAABwAQCdASoCAAIADMDOJaACdAFAAAD+3FHSXS5Df6u/O36ntgAAAA=='),
} as const;
