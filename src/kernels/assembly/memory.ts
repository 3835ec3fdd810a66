/** Copies bytes within the arena; the two ranges may overlap. */
export function copyBytes(to: u32, from: u32, length: u32): void {
  memory.copy(<usize>to, <usize>from, <usize>length);
}
