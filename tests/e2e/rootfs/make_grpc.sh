#!/usr/bin/env bash
# make_grpc.sh DIR: Debian's python3 with grpcio (a real gRPC server), and nothing else: no shell.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin_rootfs "${1:?usage: make_grpc.sh DIR}"
minimal=$(apt-cache depends python3-minimal | sed -n 's/.*Depends: \(python3\.[0-9]*-minimal\)$/\1/p' | head -n 1)
unpack_packages python3-grpcio python3-six "$minimal"
python=$(cd "$stage" && find usr/bin -name 'python3.[0-9]*' -type f | head -n 1)
copy_programs "$python"
ln -s "$(basename "$python")" "$root/usr/bin/python3"
mkdir -p "$root/usr/lib/python3"
cp -a "$stage/usr/lib/$(basename "$python")" "$root/usr/lib/"
cp -a "$stage/usr/lib/python3/dist-packages" "$root/usr/lib/python3/"
find "$root/usr/lib" -name '*.so' -path '*python3*' | while read -r module; do
  [ -L "$module" ] || copy_libraries_of "$module" 2>/dev/null || rm -f "$module"
done
end_rootfs
