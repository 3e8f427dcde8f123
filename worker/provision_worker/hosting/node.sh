#!/bin/sh
set -eu
umask 077
@VALUES@
export AWS_DEFAULT_REGION="$REGION"
run=/run/provision
mkdir -p $run /srv/files /srv/www /etc/nginx/sites
chmod 755 /srv/www
# What the customer has written runs as www-data, which gets at no credentials of this machine.
systemctl start provision-guard
site_user() { runuser -u www-data -- "$@"; }

secret() { jq -r "$1" $run/secret.json; }
aws secretsmanager get-secret-value --secret-id "$SECRET" --query SecretString --output text > $run/secret.json

mountpoint -q /srv/files || mount -t efs -o tls "$FILES":/ /srv/files
mkdir -p /srv/files/uploads
touch /srv/files/.cron
chown www-data /srv/files/uploads /srv/files/.cron

# WordPress has a database user of its own: the master's password rotates.
master=$(aws rds describe-db-instances --db-instance-identifier "$DB_NAME" --query 'DBInstances[0].MasterUserSecret.SecretArn' --output text)
aws secretsmanager get-secret-value --secret-id "$master" --query SecretString --output text > $run/master.json
printf '[client]\nhost=%s\nuser=%s\npassword="%s"\nssl-mode=REQUIRED\n' "$DB_HOST" "$(jq -r .username $run/master.json)" "$(jq -r .password $run/master.json)" > $run/master.cnf
mysql --defaults-extra-file=$run/master.cnf <<SQL
CREATE DATABASE IF NOT EXISTS wordpress;
CREATE USER IF NOT EXISTS '$(secret .db_user)'@'%' IDENTIFIED BY '$(secret .db_password)';
ALTER USER '$(secret .db_user)'@'%' IDENTIFIED BY '$(secret .db_password)';
GRANT ALL ON wordpress.* TO '$(secret .db_user)'@'%';
SQL
rm -f $run/master.json $run/master.cnf

code() { # where its code is, fetched once
    if [ "$1" = stock ]; then echo /opt/wordpress; return; fi
    place=/srv/code/$(printf %s "$1" | sha256sum | cut -c1-16)
    if [ ! -d "$place" ]; then
        mkdir -p "$place.new"
        aws s3 cp "$1" "$place.new.archive" --only-show-errors
        case $1 in *.zip) unzip -q "$place.new.archive" -d "$place.new" ;; *) tar -xf "$place.new.archive" -C "$place.new" ;; esac
        rm -f "$place.new.archive"
        mv "$place.new" "$place"
    fi
    echo "$place"
}

site() { # host code auth|open
    root=/srv/www/$1
    rm -rf "$root"
    cp -a /opt/wordpress "$root"
    [ "$2" = stock ] || cp -a "$(code "$2")"/. "$root"/
    rm -rf "$root/wp-content/uploads" "$root/wp-config.php"
    ln -s /srv/files/uploads "$root/wp-content/uploads"
    mkdir -p "$root/wp-content/mu-plugins"
    cp /opt/provision/login.php "$root/wp-content/mu-plugins/provision-login.php"
    cat > "$root/wp-config.php" <<PHP
<?php
define('DB_HOST', '$DB_HOST');
define('DB_NAME', 'wordpress');
define('DB_USER', '$(secret .db_user)');
define('DB_PASSWORD', '$(secret .db_password)');
define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
define('MYSQL_CLIENT_FLAGS', MYSQLI_CLIENT_SSL | MYSQLI_CLIENT_SSL_DONT_VERIFY_SERVER_CERT);
define('DISABLE_WP_CRON', true);
define('PROVISION_API', '$API');
define('WP_HOME', 'https://' . (\$_SERVER['HTTP_HOST'] ?? '$1'));
define('WP_SITEURL', WP_HOME);
$(jq -r '.salts | to_entries[] | "define(\u0027" + .key + "\u0027, \u0027" + .value + "\u0027);"' $run/secret.json)
\$table_prefix = 'wp_';
defined('ABSPATH') || define('ABSPATH', __DIR__ . '/');
require_once ABSPATH . 'wp-settings.php';
PHP
    auth=
    if [ "$3" = auth ]; then
        printf 'admin:%s\n' "$(secret .basic_auth_password | openssl passwd -6 -stdin)" > /etc/nginx/provision.htpasswd
        chown www-data /etc/nginx/provision.htpasswd
        auth='auth_basic "preview"; auth_basic_user_file /etc/nginx/provision.htpasswd;'
    fi
    # Whoever comes by another name comes by one of the customer's own.
    default=
    [ "$1" != "$HOST" ] || default=' default_server'
    sed -e "s|@HOST@|$1|" -e "s|@ROOT@|$root|" -e "s|@AUTH@|$auth|" -e "s|@DEFAULT@|$default|" /opt/provision/nginx.conf > "/etc/nginx/sites/$1.conf"
    chown -R www-data "$root"
}
@SITES@

# Once per site: whichever node gets the lock first finds nothing, and installs.
main=/srv/www/$HOST
# wp says again what it was told at the prompt; that is for nobody's eyes.
(
    flock 9
    site_user wp core is-installed --path="$main" || secret .admin_password | site_user wp core install --path="$main" --url="https://$HOST" --title="$HOST" \
        --skip-email --admin_user="$(secret .admin_user)" --admin_email="admin@$HOST" --prompt=admin_password > /dev/null
) 9> /srv/files/.install

echo "* * * * * www-data flock -n /srv/files/.cron /usr/local/bin/wp cron event run --due-now --path=$main --quiet" > /etc/cron.d/provision
# Not enabled: one that is started again has no files, and is to be replaced.
systemctl start php-fpm nginx
systemctl reload nginx
