#!/usr/bin/env bash
# make_nginx.sh DIR: Debian's nginx on port 8080, in the foreground (`nginx -c /etc/nginx.conf`), and busybox.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin_rootfs "${1:?usage: make_nginx.sh DIR}"
unpack_packages nginx
copy_programs usr/sbin/nginx
mkdir -p "$root/var/www" "$root/var/lib/nginx" "$root/var/log/nginx"
echo 'it works' >"$root/var/www/index.html"
cat >"$root/etc/nginx.conf" <<'END'
daemon off;
worker_processes 1;
error_log stderr;
pid /run/nginx.pid;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  server { listen 8080; root /var/www; }
}
END
add_busybox
end_rootfs
