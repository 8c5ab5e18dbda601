// What a file is, read from its first bytes before anything is unpacked, and its content with the pixels as stored.
export class Polite extends Error {} // what is wrong with a file, in words for the visitor

const KINDS = { 0: "grey", 2: "RGB", 3: "palette", 4: "grey with transparent parts", 6: "RGB with transparent parts" };

const READERS = { PNG: png, JPEG: jpeg, WEBP: webp, BMP: bmp };

/**
 * Return a Blob to decode: a rotation that a camera noted is taken out, since the model was trained without it.
 * rules: formats (names), min_side and max_pixels, the same as in every command of the package.
 */
export function look(content, name, rules) {
  const bytes = new Uint8Array(content);
  const view = new DataView(content);
  const text = (from, length) => String.fromCharCode(...bytes.subarray(from, from + length));
  try {
    const format = formatOf(view, text);
    if (rules.formats.includes(format)) return READERS[format](bytes, view, text, name, rules);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // a file that ends within its header
  }
  throw new Polite(unreadable(name, rules));
}

function formatOf(view, text) {
  if (text(0, 8) === "\x89PNG\r\n\x1a\n") return "PNG";
  if (view.getUint16(0) === 0xffd8) return "JPEG";
  if (text(0, 4) === "RIFF" && text(8, 4) === "WEBP") return "WEBP";
  return text(0, 2) === "BM" ? "BMP" : "";
}

export function unreadable(name, rules) {
  return `${name} is not an image that this browser can read. Accepted formats: ${rules.formats.join(", ")}.`;
}

export function requireSize(width, height, rules) {
  if (width * height > rules.max_pixels)
    throw new Polite(`The image has ${width} x ${height} pixels; at most ${rules.max_pixels / 1e6} million are accepted.`);
  if (Math.min(width, height) < rules.min_side)
    throw new Polite(`The image has ${width} x ${height} pixels; at least ${rules.min_side} on each side are needed.`);
}

function requireColour(name, kind, bits, isColour) {
  if (!isColour || bits !== 8)
    throw new Polite(`${name} is ${kind} of ${bits} bits, but a colour image (RGB, 8 bits) is needed; save it as one.`);
}

function several(name) {
  return new Polite(`${name} has several frames; save one of them as an image of its own.`);
}

function png(bytes, view, text, name, rules) {
  requireSize(view.getUint32(16), view.getUint32(20), rules);
  const kind = view.getUint8(25);
  requireColour(name, KINDS[kind] ?? `of kind ${kind}`, view.getUint8(24), kind === 2);
  const parts = [bytes.subarray(0, 8)];
  for (let at = 8; at < bytes.length; ) {
    const next = at + 12 <= bytes.length ? at + 12 + view.getUint32(at) : bytes.length;
    if (text(at + 4, 4) === "fdAT") throw several(name);
    // Pillow ignores a transparent colour (tRNS) too: the mode stays RGB.
    if (!["eXIf", "tRNS"].includes(text(at + 4, 4))) parts.push(bytes.subarray(at, next));
    at = next;
  }
  return new Blob(parts, { type: "image/png" });
}

function jpeg(bytes, view, text, name, rules) {
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
      requireSize(view.getUint16(at + 7), view.getUint16(at + 5), rules);
      const channels = view.getUint8(at + 9);
      const kind = { 1: "grey", 3: "RGB", 4: "CMYK" }[channels] ?? `of ${channels} channels`;
      requireColour(name, kind, view.getUint8(at + 4), channels === 3);
      known = true;
    }
    if (marker === 0xe1 && text(at + 4, 4) === "Exif") kept.fill(0, at + 4, at + 8);
    at += 2 + view.getUint16(at + 2);
  }
  if (!known) throw new Polite(unreadable(name, rules));
  return new Blob([kept], { type: "image/jpeg" });
}

function webp(bytes, view, text, name, rules) {
  const kept = bytes.slice();
  const form = text(12, 4);
  if (form === "VP8X") {
    const side = (at) => 1 + view.getUint8(at) + 256 * view.getUint8(at + 1) + 65536 * view.getUint8(at + 2);
    requireSize(side(24), side(27), rules);
    if (view.getUint8(20) & 0x10) throw new Polite(`${name} has transparent parts; save it without them.`);
    if (view.getUint8(20) & 0x02) throw several(name);
    kept[20] &= ~0x08; // has no EXIF any more
    for (let at = 12; at + 8 <= bytes.length; at += 8 + view.getUint32(at + 4, true) + (view.getUint32(at + 4, true) % 2))
      if (text(at, 4) === "EXIF") kept.set([88, 88, 88, 88], at); // a chunk that nobody knows
  } else if (form === "VP8L") {
    const bits = view.getUint32(21, true);
    if ((bits >>> 28) & 1) throw new Polite(`${name} has transparent parts; save it without them.`);
    requireSize(1 + (bits & 0x3fff), 1 + ((bits >> 14) & 0x3fff), rules);
  } else {
    requireSize(view.getUint16(26, true) & 0x3fff, view.getUint16(28, true) & 0x3fff, rules);
  }
  return new Blob([kept], { type: "image/webp" });
}

function bmp(bytes, view, text, name, rules) {
  const old = view.getUint32(14, true) === 12; // the header of OS/2
  const width = old ? view.getUint16(18, true) : view.getInt32(18, true);
  const height = old ? view.getUint16(20, true) : Math.abs(view.getInt32(22, true));
  requireSize(width, height, rules);
  const bits = view.getUint16(old ? 24 : 28, true);
  if (bits !== 24) throw new Polite(`${name} has ${bits} bits a pixel, but a colour image (RGB, 8 bits) is needed; save it as one.`);
  return new Blob([bytes], { type: "image/bmp" });
}
