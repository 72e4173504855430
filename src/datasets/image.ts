/** Channels, height and width. */
export type ImageShape = readonly [channels: number, height: number, width: number];

/** An image of bytes: one plane for each channel, each plane row by row. */
export interface Image {
  readonly shape: ImageShape;
  readonly data: Uint8Array;
}
