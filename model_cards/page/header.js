// What a file is, read from its first bytes before anything is unpacked, and its content with the pixels as stored.
export class Polite extends Error {} // what is wrong with a file, in words for the visitor

const KINDS = { 0: "grey", 2: "RGB", 3: "palette", 4: "grey with transparent parts", 6: "RGB with transparent parts" };

/** Return a Blob to decode: a rotation that a camera noted is taken out, since the model was trained without it. */
export function look(content, name, maxPixels) {
  const bytes = new Uint8Array(content);
  const view = new DataView(content);
  const text = (from, length) => String.fromCharCode(...bytes.subarray(from, from + length));
  try {
    if (text(0, 8) === "\x89PNG\r\n\x1a\n") return png(bytes, view, text, name, maxPixels);
    if (view.getUint16(0) === 0xffd8) return jpeg(bytes, view, text, name, maxPixels);
    if (text(0, 4) === "RIFF" && text(8, 4) === "WEBP") return webp(bytes, view, text, name, maxPixels);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // a file that ends within its header
  }
  throw new Polite(unreadable(name));
}

export function unreadable(name) {
  return `${name} is not an image that this browser can read. PNG, JPEG and WebP are; TIFF is not.`;
}

export function requireSize(width, height, maxPixels) {
  if (width * height > maxPixels)
    throw new Polite(`The image has ${width} x ${height} pixels; at most ${maxPixels / 1e6} million are taken.`);
}

function requireColour(name, kind, bits, isColour) {
  if (!isColour || bits !== 8)
    throw new Polite(`${name} is ${kind} of ${bits} bits, but a colour image (RGB, 8 bits) is needed; save it as one.`);
}

function png(bytes, view, text, name, maxPixels) {
  requireSize(view.getUint32(16), view.getUint32(20), maxPixels);
  const kind = view.getUint8(25);
  requireColour(name, KINDS[kind] ?? `of kind ${kind}`, view.getUint8(24), kind === 2);
  const parts = [bytes.subarray(0, 8)];
  for (let at = 8; at < bytes.length; ) {
    const next = at + 12 <= bytes.length ? at + 12 + view.getUint32(at) : bytes.length;
    if (text(at + 4, 4) !== "eXIf") parts.push(bytes.subarray(at, next));
    at = next;
  }
  return new Blob(parts, { type: "image/png" });
}

function jpeg(bytes, view, text, name, maxPixels) {
  const kept = bytes.slice();
  let known = false;
  for (let at = 2; view.getUint8(at) === 0xff; ) {
    const marker = view.getUint8(at + 1);
    if (marker === 0xff) {
      at += 1; // a byte that fills up
      continue;
    }
    if (marker === 0xda) break; // pixels from here on
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      requireSize(view.getUint16(at + 7), view.getUint16(at + 5), maxPixels);
      const channels = view.getUint8(at + 9);
      const kind = { 1: "grey", 3: "RGB", 4: "CMYK" }[channels] ?? `of ${channels} channels`;
      requireColour(name, kind, view.getUint8(at + 4), channels === 3);
      known = true;
    }
    if (marker === 0xe1 && text(at + 4, 4) === "Exif") kept.fill(0, at + 4, at + 8);
    at += 2 + view.getUint16(at + 2);
  }
  if (!known) throw new Polite(unreadable(name));
  return new Blob([kept], { type: "image/jpeg" });
}

function webp(bytes, view, text, name, maxPixels) {
  const kept = bytes.slice();
  const form = text(12, 4);
  if (form === "VP8X") {
    const side = (at) => 1 + view.getUint8(at) + 256 * view.getUint8(at + 1) + 65536 * view.getUint8(at + 2);
    requireSize(side(24), side(27), maxPixels);
    kept[20] &= ~0x08; // has no EXIF any more
    for (let at = 12; at + 8 <= bytes.length; at += 8 + view.getUint32(at + 4, true) + (view.getUint32(at + 4, true) % 2))
      if (text(at, 4) === "EXIF") kept.set([88, 88, 88, 88], at); // a chunk that nobody knows
  } else if (form === "VP8L") {
    const bits = view.getUint32(21, true);
    requireSize(1 + (bits & 0x3fff), 1 + ((bits >> 14) & 0x3fff), maxPixels);
  } else {
    requireSize(view.getUint16(26, true) & 0x3fff, view.getUint16(28, true) & 0x3fff, maxPixels);
  }
  return new Blob([kept], { type: "image/webp" });
}
