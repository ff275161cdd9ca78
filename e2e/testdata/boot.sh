#!/bin/bash
# Boots systemd over a copy of this machine's root that forgets everything, with a
# package installed: boot.sh FOLDER PACKAGE CONFIGURATION WATCHDOG, in new
# namespaces for mounts, processes, host name, IPC and control groups.
set -euo pipefail
folder=$1 package=$2 configuration=$3 watchdog=$4

# What a machine may refuse, to root as well, is told by the status.
trap 'exit 77' ERR
mount --make-rprivate /
mount -t tmpfs tmpfs "$folder"
mkdir "$folder"/{upper,work,root}
mount -t overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" overlay "$folder/root"
root=$folder/root
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for f in run tmp dev; do mount -t tmpfs tmpfs "$root/$f"; done
for device in null:3 zero:5 full:7 random:8 urandom:9; do
	mknod -m 666 "$root/dev/${device%:*}" c 1 "${device#*:}"
done
mknod -m 666 "$root/dev/tty" c 5 0
mkdir "$root/dev/pts" "$root/dev/shm" "$root/run/old"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
touch "$root/dev/console"
cp "$package" "$root/run/promethos.deb"
mkdir -p "$root/etc/promethos" "$root/etc/systemd/system/promethos.service.d"
install -m 644 "$configuration" "$root/etc/promethos/promethos.yaml"
printf '[Service]\nWatchdogSec=%s\n' "$watchdog" >"$root/etc/systemd/system/promethos.service.d/watchdog.conf"
# Tells whether services can have what ours want, apart from ours.
cat >"$root/etc/systemd/system/sandbox.service" <<UNIT
[Unit]
DefaultDependencies=no
After=local-fs.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
PrivateDevices=yes
PrivateTmp=yes
ProtectSystem=strict
[Install]
WantedBy=sysinit.target
UNIT

cd "$root"
pivot_root . run/old
trap - ERR
# What else this machine runs is not of interest here.
rm -f /etc/systemd/system/*.target.wants/*
ln -sf /dev/null /etc/systemd/system/console-getty.service
# Nobody reads the manual here: its index takes longer than all the rest.
printf 'no-triggers\nforce-unsafe-io\n' >/etc/dpkg/dpkg.cfg.d/promethos
dpkg -i /run/promethos.deb
systemctl enable sandbox.service promethos.service promethos-block.service
umount -l /run/old
# As on a machine of metal: systemd hands credentials over by a mount that others see.
mount --make-rshared /
exec env -i container=promethos PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=journal --unit=multi-user.target </dev/null
