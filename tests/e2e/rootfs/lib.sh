# Makes small root file systems from Debian packages without installing them: apt-get download, unpack,
# and take the wanted programs with the libraries that they need. Sourced by make_*.sh.

# begin_rootfs DIR: ends the caller with 0 when DIR is there already; else sets $root to a new directory
# beside it, and $stage to where packages are unpacked.
begin_rootfs() {
  target=$1
  [ ! -e "$target/.complete" ] || exit 0
  mkdir -p "$(dirname "$target")"
  work=$(mktemp -d "$(dirname "$target")/.rootfs-XXXXXX")
  trap 'rm -rf "$work"' EXIT
  chmod 755 "$work"
  root=$work/root
  stage=$work/stage
  local dir
  for dir in "$root" "$stage"; do
    mkdir -p "$dir"/usr/{bin,sbin,lib,lib64}
    for link in bin sbin lib lib64; do ln -s "usr/$link" "$dir/$link"; done
  done
  mkdir -p "$root"/{dev,etc,proc,sys,tmp,run,root,home,var/log,var/lib}
  chmod 1777 "$root/tmp"
  cat >"$root/etc/passwd" <<'END'
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
app:x:1000:1000:app:/home:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
END
  cat >"$root/etc/group" <<'END'
root:x:0:
daemon:x:1:
www-data:x:33:
extra:x:2000:app
app:x:1000:
nogroup:x:65534:
END
  printf 'passwd: files\ngroup: files\nhosts: files\n' >"$root/etc/nsswitch.conf"
  printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
}

# end_rootfs: puts the finished tree in its place.
end_rootfs() {
  : >"$root/.complete"
  rm -rf "$target"
  mv "$root" "$target"
}

# unpack_packages NAME...: downloads the packages with the libraries that they depend on into $stage.
# An empty status file makes apt list also what is installed on this host.
unpack_packages() {
  local empty=$work/empty names archive
  : >"$empty"
  mkdir -p "$work/archives"
  compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null || apt-get update -qq >&2
  names=$(apt-get -o Dir::State::status="$empty" -s -y --no-install-recommends install "$@" |
    awk '$1 == "Inst" {print $2}' | grep -E "^(lib|zlib|$(IFS='|'; echo "$*"))" | grep -v -E '^(libpam|libperl|libdebconf)')
  (cd "$work/archives" && apt-get -qq -o APT::Sandbox::User=root download $names >&2)
  for archive in "$work"/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$archive" | tar -x --keep-directory-symlink --no-same-owner -C "$stage"
  done
}

# copy_programs PATH...: copies programs from $stage to $root with every library and the loader that
# they name. Fails where one of them is found nowhere in $stage.
copy_programs() {
  local program line name path
  for program in "$@"; do
    mkdir -p "$root/$(dirname "$program")"
    cp -L "$stage/$program" "$root/$program"
    copy_libraries_of "$stage/$program"
  done
}

copy_libraries_of() {
  local pending=("$1") file name path loader
  while [ ${#pending[@]} -gt 0 ]; do
    file=${pending[0]}
    pending=("${pending[@]:1}")
    loader=$(readelf -lW "$file" | sed -n 's/.*program interpreter: \(.*\)\]/\1/p')
    if [ -n "$loader" ] && [ ! -e "$root/$loader" ]; then
      mkdir -p "$root/$(dirname "$loader")"
      cp -L "$stage/$loader" "$root/$loader"
    fi
    for name in $(readelf -dW "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
      path=$(cd "$stage" && find usr/lib usr/lib64 -name "$name" | head -n 1)
      [ -n "$path" ] || { echo "cannot find $name, which $file needs" >&2; return 1; }
      [ ! -e "$root/$path" ] || continue
      mkdir -p "$root/$(dirname "$path")"
      cp -L "$stage/$path" "$root/$path"
      pending+=("$stage/$path")
    done
  done
}

# add_busybox: /bin/sh and the usual tools, from the host's static busybox or from its package.
add_busybox() {
  local busybox applet
  if file_is_static /bin/busybox; then
    busybox=/bin/busybox
  else
    mkdir -p "$work/busybox"
    (cd "$work/busybox" && apt-get -qq -o APT::Sandbox::User=root download busybox-static >&2 &&
      dpkg-deb -x busybox-static_*.deb .)
    busybox=$(find "$work/busybox" -path '*/bin/busybox' -type f | head -n 1)
  fi
  cp "$busybox" "$root/bin/busybox"
  for applet in $("$busybox" --list); do
    [ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
  done
}

file_is_static() {
  [ -x "$1" ] && command -v readelf >/dev/null && ! readelf -lW "$1" | grep -q 'program interpreter'
}
