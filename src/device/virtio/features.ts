import { MillraceError } from "../../errors.js";
import { readCommon, type Structures, writeCommon } from "./registers.js";

/** The feature bits that the driver knows: network [5.1.3], rings and transport [6]. */
export const FEATURES = {
  checksum: 0,
  guestChecksum: 1,
  mtu: 3,
  mac: 5,
  guestTso4: 7,
  guestTso6: 8,
  hostTso4: 11,
  hostTso6: 12,
  mergeBuffers: 15,
  status: 16,
  control: 17,
  controlReceive: 18,
  controlVlan: 19,
  multiQueue: 22,
  indirect: 28,
  eventIndex: 29,
  version1: 32,
  accessPlatform: 33,
  packed: 34,
  hostUso: 56,
  hashReport: 57,
  rss: 60,
} as const;
export type VirtioFeature = keyof typeof FEATURES;
export type FeatureSet = ReadonlySet<VirtioFeature>;

/** Without what a feature needs, it is not asked for [5.1.3.1]. Large receives are taken only into merged buffers. */
const NEEDS: Partial<Readonly<Record<VirtioFeature, readonly VirtioFeature[]>>> = {
  guestTso4: ["guestChecksum", "mergeBuffers"],
  guestTso6: ["guestChecksum", "mergeBuffers"],
  hostTso4: ["checksum"],
  hostTso6: ["checksum"],
  hostUso: ["checksum"],
  controlReceive: ["control"],
  controlVlan: ["control"],
  multiQueue: ["control"],
  rss: ["control", "multiQueue"],
  hashReport: ["control"],
};
const NAMES = Object.keys(FEATURES) as VirtioFeature[];

export function readFeatures(structures: Structures): FeatureSet {
  const words = [0, 1].map((word) => {
    writeCommon(structures, "deviceFeatureSelect", word);
    return readCommon(structures, "deviceFeature");
  });
  return new Set(NAMES.filter((name) => ((words[FEATURES[name] >>> 5] >>> (FEATURES[name] & 31)) & 1) === 1));
}

export function writeFeatures(structures: Structures, features: FeatureSet): void {
  const words = [0, 0];
  for (const name of features) words[FEATURES[name] >>> 5] |= 1 << (FEATURES[name] & 31);
  for (const word of [0, 1]) {
    writeCommon(structures, "driverFeatureSelect", word);
    writeCommon(structures, "driverFeature", words[word] >>> 0);
  }
}

/** What to use of what the device offers. Throws ERR_DEVICE for a device that must not be driven. */
export function chooseFeatures(
  name: string,
  offered: FeatureSet,
  without: readonly VirtioFeature[],
): FeatureSet {
  const chosen = new Set([...offered].filter((feature) => !without.includes(feature)));
  if (!chosen.has("version1"))
    throw new MillraceError("ERR_DEVICE", `${name} is no virtio device of version 1`);
  if (!chosen.has("accessPlatform"))
    throw new MillraceError("ERR_DEVICE", `${name} takes addresses of the machine's memory, past the IOMMU`, {
      hint: "the device must offer VIRTIO_F_ACCESS_PLATFORM; in QEMU give it iommu_platform=on",
    });
  for (const feature of NAMES)
    if (NEEDS[feature]?.some((needed) => !chosen.has(needed)) === true) chosen.delete(feature);
  return chosen;
}
