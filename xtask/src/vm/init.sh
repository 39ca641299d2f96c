#!/bin/busybox sh
# The first program of a virtual machine: reaches the disks, lays a memory disk over the first, and hands over to xtask.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done </modules/order
# Disks are found when their driver gets to them.
tries=0
while [ ! -b /dev/vdc ] && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
mount -t ext4 -o ro /dev/vda /lower
mount -t tmpfs upper /upper
mkdir /upper/files /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /new
mount -t ext4 -o ro /dev/vdb /new/usr/lib/modules
mount -t ext4 -o ro /dev/vdc /new/portlane
for each in proc sys dev; do mount --move /$each /new/$each; done
exec switch_root /new /portlane/xtask vm-guest
