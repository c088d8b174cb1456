import { fileTypeFromBuffer } from 'file-type';
import { FlotillaError } from '../../kernel/errors.ts';
import type { ImageType } from '../../services/media/ports.ts';

const ACCEPTED: Record<string, ImageType> = {
  'image/jpeg': { extension: 'jpg', contentType: 'image/jpeg' },
  'image/png': { extension: 'png', contentType: 'image/png' },
  'image/webp': { extension: 'webp', contentType: 'image/webp' },
};

/** By content alone: what a client calls its file says nothing. @throws FlotillaError `unsupported_image` */
export async function recogniseImage(bytes: Uint8Array): Promise<ImageType> {
  const found = await fileTypeFromBuffer(bytes);
  const type = found ? ACCEPTED[found.mime] : undefined;
  if (type) return type;
  throw new FlotillaError(
    'unsupported_type',
    'unsupported_image',
    `The image must be JPEG, PNG or WebP; this is ${found ? found.mime : 'none of them'}.`,
    { details: { field: 'image' } },
  );
}
