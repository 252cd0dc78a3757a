# SPDX-License-Identifier: Apache-2.0
# The first session with composefs, step by step, in a guest whose kernel has fs-verity.
# Each step prints what it does; the first one that does not come out as written here ends it.

fail() { echo "FAILED: $*"; dmesg | tail -n 20; exit 1; }
step() { echo "== $*"; }
# same ACTUAL EXPECTED
same() { [ "$1" = "$2" ] || fail "got '$1', expected '$2'"; echo "$1"; }
# refused TEXT COMMAND…: the command ends with status 1 and says TEXT, and nothing got mounted
refused() {
  text=$1; shift
  mounts=$(cat /proc/self/mountinfo); erofs_mounts=$(dmesg | grep -c 'erofs.*: mounted')
  said=$("$@" 2>&1); status=$?
  [ $status = 1 ] || fail "$*: status $status, expected 1 ($said)"
  case $said in *"$text"*) ;; *) fail "$*: said '$said', expected '$text'" ;; esac
  [ "$mounts" = "$(cat /proc/self/mountinfo)" ] || fail "$*: left something mounted"
  [ "$erofs_mounts" = "$(dmesg | grep -c 'erofs.*: mounted')" ] || fail "$*: mounted the image first"
  echo "refused: $said" | head -n 1
}
# unreadable FILE TEXT: reading ends with an error and no data, and the kernel's log says TEXT
unreadable() {
  dmesg -c >/dev/null
  said=$(cat "$1" 2>&1) && fail "$1 could be read"
  case $said in *"Input/output error"*) ;; *) fail "$1: '$said'" ;; esac
  dmesg | grep -q "$2" || fail "the kernel's log has no '$2'"
  echo "$said"
  dmesg | grep -m 1 "$2"
}
sectors_read() { awk '{ print $3 }' /sys/block/vda/stat; }
digest_of() { fsverity measure "$1" | cut -d' ' -f1 | cut -d: -f2; }
object_of() { digest=$(fsverity digest "$1" | cut -d' ' -f1 | cut -d: -f2); rest=${digest#??}; echo "objects/${digest%"$rest"}/$rest"; }
lines() { i=0; while [ $i -lt "$1" ]; do echo "$2 $i"; i=$((i + 1)); done; }

step "an ext4 with fs-verity"
mkfs.ext4 -q -b 4096 -O verity /dev/vda || fail mkfs
mkdir -p /disk
/bin/busybox mount -t ext4 /dev/vda /disk || fail mount
cd /disk || fail cd
mkdir mnt mnt2 upper workdir

step "a root file system with three files"
mkdir -p rootfs/dir
lines 20 "content one" >rootfs/one
lines 20 "content two" >rootfs/two
lines 20 "content three" >rootfs/dir/three

step "its image and its objects"
mkcomposefs --digest-store=objects rootfs rootfs.cfs || fail mkcomposefs
same "$(ls objects/*/* | wc -l)" 3
for file in rootfs/one rootfs/two rootfs/dir/three; do cmp "$file" "$(object_of "$file")" || fail "$file"; done

step "every object has fs-verity, and its digest is its name"
for object in objects/*/*; do
  name=$(echo "$object" | sed 's|objects/||; s|/||')
  same "$(digest_of "$object")" "$name"
  same "$(fsverity digest "$object" | cut -d' ' -f1)" "sha256:$name" >/dev/null
done

# A bare "mount" is the shell's own applet, which makes a loop device of the image and keeps options from the helper.
step "mount it, directly and through mount(8)"
mount.composefs -o basedir=objects rootfs.cfs mnt || fail mount.composefs
same "$(cd mnt && find . | sort | tr '\n' ' ')" ". ./dir ./dir/three ./one ./two "
cmp mnt/one rootfs/one && cmp mnt/two rootfs/two && cmp mnt/dir/three rootfs/dir/three || fail contents
touch mnt/new 2>/dev/null && fail "wrote into an image"
umount mnt || fail umount
/usr/bin/mount -t composefs rootfs.cfs -o ro,basedir=objects,verity mnt || fail "mount -t composefs"
same "$(cat mnt/one | md5sum)" "$(cat rootfs/one | md5sum)"
grep ' /disk/mnt overlay ' /proc/mounts | grep -q verity=require || fail "no verity=require in /proc/mounts"
[ "$(grep -c erofs /proc/mounts)" = 0 ] || fail "the image's own mount is left"
[ "$(ls -A /tmp | grep -c composefs)" = 0 ] || fail "the temporary directory is left"
umount mnt || fail umount

step "a line of fstab mounts"
options=ro,nofail,_netdev,noauto,x-systemd.device-timeout=5,nodev,nosuid,noatime,basedir=/disk/objects,verity,
mkdir -p /etc
echo "/disk/rootfs.cfs /disk/mnt composefs $options 0 0" >/etc/fstab
/usr/bin/mount -f -v -n /disk/mnt || fail "mount -f"
grep ' /disk/mnt ' /proc/mounts && fail "mount -f mounted"
/usr/bin/mount /disk/mnt || fail "mount with a line of fstab"
same "$(cat mnt/one | md5sum)" "$(cat rootfs/one | md5sum)"
for option in ro nosuid nodev noatime verity=require; do
  grep ' /disk/mnt overlay ' /proc/mounts | grep -qw "$option" || fail "no $option in /proc/mounts"
done
umount mnt || fail umount
rm /etc/fstab

step "files of up to 64 bytes are in the image"
mkdir small
printf '%064d' 0 >small/sixty-four
printf '%065d' 0 >small/sixty-five
mkcomposefs --digest-store=objects small small.cfs || fail mkcomposefs
[ -e "$(object_of small/sixty-four)" ] && fail "64 bytes became an object"
[ -e "$(object_of small/sixty-five)" ] || fail "65 bytes did not become an object"
mount.composefs -o basedir=objects,verity small.cfs mnt || fail mount.composefs
cmp mnt/sixty-four small/sixty-four && cmp mnt/sixty-five small/sixty-five || fail contents
umount mnt || fail umount

step "two images share an object, on disk and in the page cache"
mkdir first second
lines 30000 "the shared file" >first/shared
cp first/shared second/renamed
lines 20 "only in the second" >second/own
before=$(ls objects/*/* | wc -l)
mkcomposefs --digest-store=objects first first.cfs && mkcomposefs --digest-store=objects second second.cfs || fail mkcomposefs
same "$(($(ls objects/*/* | wc -l) - before))" 2
mount.composefs -o basedir=objects,verity first.cfs mnt && mount.composefs -o basedir=objects,verity second.cfs mnt2 || fail mount
sync; echo 3 >/proc/sys/vm/drop_caches
size=$(stat -c %s first/shared)
# Opening brings the metadata of both into memory, so that only the content is left to be read.
: <mnt/shared; : <mnt2/renamed
start=$(sectors_read)
cat mnt/shared >/dev/null
middle=$(sectors_read)
cat mnt2/renamed >/dev/null
end=$(sectors_read)
echo "$size bytes: $((middle - start)) sectors read for the first image, $((end - middle)) for the second"
[ $((middle - start)) -ge $((size / 512)) ] || fail "the first read did not come from the disk"
[ $((end - middle)) = 0 ] || fail "the second read came from the disk"
umount mnt && umount mnt2 || fail umount

step "a replaced object cannot be read"
object=$(object_of rootfs/one)
mv "$object" kept
lines 20 "content ONE" >"$object"
mount.composefs -o basedir=objects,verity rootfs.cfs mnt || fail mount.composefs
unreadable mnt/one 'has no fs-verity digest'
cmp mnt/two rootfs/two || fail "the others can"
umount mnt || fail umount
fsverity enable "$object" || fail "fsverity enable"
mount.composefs -o basedir=objects,verity rootfs.cfs mnt || fail mount.composefs
unreadable mnt/one 'has the wrong fs-verity digest'
umount mnt || fail umount

step "without verity nobody notices: that is what the option is for"
mount.composefs -o basedir=objects rootfs.cfs mnt || fail mount.composefs
cmp -s mnt/one rootfs/one && fail "read the original"
umount mnt || fail umount

step "restored, it reads again"
mv kept "$object"
mount.composefs -o basedir=objects,verity rootfs.cfs mnt || fail mount.composefs
cmp mnt/one rootfs/one || fail contents
umount mnt || fail umount

step "the image itself: no fs-verity, no digest"
wrong=0000000000000000000000000000000000000000000000000000000000000000
refused "Image has no fs-verity" mount.composefs -o "basedir=objects,digest=$wrong" rootfs.cfs mnt
fsverity enable rootfs.cfs || fail "fsverity enable"
digest=$(digest_of rootfs.cfs)
same "$(mkcomposefs --print-digest-only rootfs)" "$digest"
mount.composefs -o "basedir=objects,digest=$digest" rootfs.cfs mnt || fail mount.composefs
cmp mnt/one rootfs/one || fail contents
grep ' /disk/mnt overlay ' /proc/mounts | grep -q verity=require || fail "digest= does not imply verity"
umount mnt || fail umount
refused "Image has wrong fs-verity" mount.composefs -o "basedir=objects,digest=$wrong" rootfs.cfs mnt
refused "No value specified for digest option" mount.composefs -o "basedir=objects,digest=" rootfs.cfs mnt
refused "not a composefs image" mount.composefs -o "basedir=objects" rootfs/one mnt
refused "cannot open" mount.composefs -o "basedir=objects" missing.cfs mnt
said=$(mount.composefs -o "basedir=nowhere,verity" rootfs.cfs mnt 2>&1) && fail "mounted without a store"
case $said in *nowhere*"No such file or directory"*) ;; *) fail "said '$said'" ;; esac
[ "$(grep -c -e erofs -e composefs /proc/mounts)" = 0 ] || fail "a failed mount left something mounted"

step "a writable layer on top"
mount.composefs -o "basedir=objects,digest=$digest,upperdir=upper,workdir=workdir" rootfs.cfs mnt || fail mount.composefs
echo changed >mnt/one && rm mnt/two && echo new >mnt/new || fail "cannot write"
same "$(cat mnt/one) $(ls mnt | tr '\n' ' ')" "changed dir new one "
umount mnt || fail umount
same "$(cat upper/one)" changed
mount.composefs -o "basedir=objects,digest=$digest,ro,upperdir=upper,workdir=workdir" rootfs.cfs mnt || fail mount.composefs
touch mnt/one 2>/dev/null && fail "ro was ignored"
umount mnt || fail umount

step "two stores, one with a comma in its name"
mkdir -p 'other,store/00'
mount.composefs -o "basedir=other\\,store:objects,verity" rootfs.cfs mnt || fail mount.composefs
cmp mnt/one rootfs/one || fail contents
umount mnt || fail umount

step "ids mapped as in a user namespace"
busybox unshare -U sleep 60 & child=$!
sleep 1
echo "0 1000 10" >/proc/$child/uid_map && echo "0 2000 10" >/proc/$child/gid_map || fail uid_map
mount.composefs -o "basedir=objects,idmap=/proc/$child/ns/user" rootfs.cfs mnt || fail mount.composefs
same "$(stat -c '%u %g' mnt/one)" "1000 2000"
umount mnt || fail umount
kill $child

step "an image that the kernel cannot mount as a file goes through a loop device"
cp rootfs.cfs /run/rootfs.cfs
mount.composefs -o "basedir=objects,verity" /run/rootfs.cfs mnt || fail mount.composefs
cmp mnt/one rootfs/one || fail contents
same "$(cat /sys/block/loop0/loop/backing_file)" /run/rootfs.cfs
umount mnt || fail umount
sleep 1
[ -e /sys/block/loop0/loop/backing_file ] && fail "the loop device is left"

step "one byte of the image changed underneath, on the raw disk: wherever it is, no wrong data"
cd /
umount /disk || fail umount
block=$(debugfs -R "bmap /rootfs.cfs 0" /dev/vda 2>/dev/null)
[ "$block" -gt 0 ] || fail "bmap"
flip() {  # OFFSET OCTAL-BYTE
  printf "\\$2" | dd of=/dev/vda bs=1 seek=$((block * 4096 + $1)) conv=notrunc 2>/dev/null
}
byte_at() { dd if=/dev/vda bs=1 skip=$((block * 4096 + $1)) count=1 2>/dev/null | od -An -to1 | tr -d ' '; }
for offset in 0 9 1024 1046 1153 1200 1500 4095; do
  old=$(byte_at $offset)
  new=$(printf '%03o' $((0$old ^ 1)))
  flip $offset "$new"
  echo 3 >/proc/sys/vm/drop_caches
  /bin/busybox mount -t ext4 /dev/vda /disk || fail mount
  for options in "basedir=/disk/objects,digest=$digest" "basedir=/disk/objects,verity"; do
    if mount.composefs -o "$options" /disk/rootfs.cfs /disk/mnt 2>/tmp/said; then
      fail "offset $offset: mounted with $options"
    fi
    grep -q 'Input/output error' /tmp/said || fail "offset $offset: $(cat /tmp/said)"
  done
  echo "offset $offset, $old -> $new: $(cat /tmp/said)"
  umount /disk || fail umount
  flip $offset "$old"
done
echo 3 >/proc/sys/vm/drop_caches
/bin/busybox mount -t ext4 /dev/vda /disk || fail mount
mount.composefs -o "basedir=/disk/objects,digest=$digest" /disk/rootfs.cfs /disk/mnt || fail "flipped back"
cmp /disk/mnt/one /disk/rootfs/one || fail contents
umount /disk/mnt && umount /disk || fail umount
step "end of the session"
