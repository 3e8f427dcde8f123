#!/bin/sh
# Makes the image that nodes of web sites start from. For Ubuntu 24.04, as root.
set -eu
export DEBIAN_FRONTEND=noninteractive
machine=$(dpkg --print-architecture)
apt-get update -q
apt-get install -q -y binutils curl git iptables jq mysql-client nginx openssl stunnel4 tar unzip util-linux \
    php-cli php-curl php-fpm php-gd php-imagick php-intl php-mbstring php-mysql php-xml php-zip

work=$(mktemp -d)
cd "$work"
case $machine in arm64) aws=aarch64 ;; *) aws=x86_64 ;; esac
curl -fsS -o aws.zip "https://awscli.amazonaws.com/awscli-exe-linux-$aws.zip"
unzip -q aws.zip
./aws/install
curl -fsS -o agent.deb "https://amazoncloudwatch-agent.s3.amazonaws.com/ubuntu/$machine/latest/amazon-cloudwatch-agent.deb"
dpkg -i agent.deb
git clone -q --depth 1 -b v1.36.0 https://github.com/aws/efs-utils
(cd efs-utils && ./build-deb.sh && apt-get install -q -y ./build/amazon-efs-utils*deb)
curl -fsS -o /usr/local/bin/wp https://raw.githubusercontent.com/wp-cli/builds/gh-pages/phar/wp-cli.phar
chmod 755 /usr/local/bin/wp
mkdir -p /opt/provision /opt/wordpress /etc/nginx/sites /opt/aws/amazon-cloudwatch-agent/etc
curl -fsS https://wordpress.org/latest.tar.gz | tar -xz -C /opt/wordpress --strip-components 1
cd /
rm -rf "$work"

@FILES@

# Sites are in their own folder; a node answers only when it has them.
rm -f /etc/nginx/sites-enabled/default
printf 'server_names_hash_bucket_size 256;\ninclude /etc/nginx/sites/*.conf;\n' > /etc/nginx/conf.d/provision.conf
php=$(basename /lib/systemd/system/php*-fpm.service)
ln -sf "/lib/systemd/system/$php" /etc/systemd/system/php-fpm.service
systemctl disable nginx "$php"
systemctl enable amazon-cloudwatch-agent provision-guard
