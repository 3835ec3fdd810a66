/** Which IOVAs a device may use: what its driver mapped, and nothing else. */
export interface Iommu {
  readonly ranges: { readonly from: number; readonly to: number; readonly offset: number }[];
}

const PAGE = 4096;

/** Maps `bytes` at arena offset `offset` to `iova`. False: not in whole pages, or over an existing mapping. */
export function iommuMap(iommu: Iommu, iova: number, offset: number, bytes: number): boolean {
  if (bytes <= 0 || iova % PAGE !== 0 || bytes % PAGE !== 0 || offset % PAGE !== 0) return false;
  if (iommu.ranges.some((range) => iova < range.to && range.from < iova + bytes)) return false;
  iommu.ranges.push({ from: iova, to: iova + bytes, offset });
  return true;
}

/** Undoes exactly one earlier mapping. */
export function iommuUnmap(iommu: Iommu, iova: number, bytes: number): boolean {
  const index = iommu.ranges.findIndex((range) => range.from === iova && range.to === iova + bytes);
  if (index < 0) return false;
  iommu.ranges.splice(index, 1);
  return true;
}

/** The arena offset behind `bytes` bytes at `iova`, or -1 when not all of them lie in one mapping. */
export function translate(iommu: Iommu, iova: number, bytes: number): number {
  for (const range of iommu.ranges)
    if (iova >= range.from && bytes <= range.to - iova) return range.offset + (iova - range.from);
  return -1;
}
