#!/bin/busybox sh
# The guest's first process. The host's file system (9p, read-only) becomes the root, /run and /dev/shm are fresh
# memory, /run/out is the one folder of the host that can be written; run.sh in it is run, and QEMU leaves with its status.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
for module in $($b cat /modules/order); do
  $b insmod "/modules/$module.ko" || echo "guest: $module cannot be loaded"
done
$b mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=524288,cache=loose host /host
for name in proc sys dev; do $b mount --move "/$name" "/host/$name"; done
$b mount -t tmpfs run /host/run
$b mkdir -p /host/run/out /host/run/tmp /host/dev/shm /host/dev/pts
$b mount -t tmpfs shm /host/dev/shm
$b mount -t devpts pts /host/dev/pts
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288 out /host/run/out
echo "guest: up after $($b cut -d' ' -f1 /host/proc/uptime) s, Linux $($b uname -r)"
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TMPDIR=/run/tmp $b chroot /host /bin/sh /run/out/run.sh
status=$?
echo "guest: leaves with status $status after $($b cut -d' ' -f1 /host/proc/uptime) s"
$b sync
# The isa-debug-exit device ends QEMU with status * 2 + 1.
$b printf "\\x$($b printf %x $status)" | $b dd of=/host/dev/port bs=1 seek=244 count=1 2>/dev/null
$b poweroff -f
