// The machine that the guest sees: which devices, where on its bus, and what they are plugged into.

/**
 * PCI addresses in the guest. Each card shares a hub with a NIC that the guest's kernel drives, and QEMU
 * captures what the card sends and receives to NAME.pcap in the folder in which it runs.
 */
export const cards = [
  {
    name: "e1000e",
    device: "e1000e,addr=10.0,mac=52:54:00:00:10:01",
    peer: "virtio-net-pci,addr=18.0,mac=52:54:00:00:10:02",
  },
  {
    name: "virtio",
    device: "virtio-net-pci,addr=11.0,mac=52:54:00:00:11:01,disable-legacy=on,iommu_platform=on,packed=on",
    peer: "virtio-net-pci,addr=19.0,mac=52:54:00:00:11:02",
  },
  {
    // Without MSI-X it has an interrupt line alone.
    name: "line",
    device: "virtio-net-pci,addr=13.0,mac=52:54:00:00:13:01,vectors=0,disable-legacy=on,iommu_platform=on",
    peer: "virtio-net-pci,addr=1a.0,mac=52:54:00:00:13:02",
  },
];

function cardArguments({ name, device, peer }, hub) {
  return [
    ...["-netdev", `hubport,id=${name},hubid=${hub}`, "-device", `${device},netdev=${name}`],
    ...["-netdev", `hubport,id=${name}-peer,hubid=${hub}`, "-device", `${peer},netdev=${name}-peer`],
    ...["-object", `filter-dump,id=${name}-dump,netdev=${name},file=${name}.pcap,maxlen=65535`],
  ];
}

export const TAP_MAC = "52:54:00:00:12:01";

/** The card on the host's tap, where there is one: four queues, and all that a card can do for its driver. */
function tapArguments() {
  const card = [`virtio-net-pci,addr=12.0,netdev=tap,mac=${TAP_MAC},mq=on,vectors=10,rss=on,hash=on`];
  return [
    ...["-netdev", "tap,id=tap,ifname=tap0,script=no,downscript=no,vhost=off,queues=4"],
    ...["-device", [...card, "disable-legacy=on,iommu_platform=on,packed=on"].join(",")],
  ];
}

/**
 * QEMU's arguments, for a QEMU that runs in the folder that the guest may write to: a socket's path must be short.
 * KVM is not asked for: it is not to be had everywhere, and what is tested is not speed.
 */
export function machineArguments({ kernel, initramfs }, hasTap) {
  return [
    ...["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max", "-smp", "2", "-m", "2048"],
    ...["-M", "q35", "-nodefaults", "-display", "none", "-vga", "none", "-no-reboot"],
    ...["-kernel", kernel, "-initrd", initramfs],
    // On a busy host an emulated timer may be late; the kernel need not panic for that.
    ...["-append", "console=ttyS0 quiet panic=-1 intel_iommu=on no_timer_check nowatchdog"],
    ...["-device", "intel-iommu,intremap=on,device-iotlb=on"],
    ...["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"],
    // The guest's second serial port is QEMU's own monitor, so that a test can pull a cable.
    ...["-serial", "stdio", "-qmp", "unix:monitor,server=on,wait=off", "-serial", "unix:monitor"],
    ...["-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"],
    ...["-virtfs", "local,path=.,mount_tag=out,security_model=none"],
    ...["-device", "edu,addr=05.0"],
    ...cards.flatMap((card, hub) => cardArguments(card, hub)),
    ...(hasTap ? tapArguments() : []),
  ];
}
