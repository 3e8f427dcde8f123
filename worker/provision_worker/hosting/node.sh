#!/bin/sh
set -eu
umask 077
@VALUES@
export AWS_DEFAULT_REGION="$REGION"
run=/run/provision
mkdir -p $run /srv/files /srv/www /etc/nginx/sites

secret() { jq -r "$1" $run/secret.json; }
aws secretsmanager get-secret-value --secret-id "$SECRET" --query SecretString --output text > $run/secret.json

mountpoint -q /srv/files || mount -t efs -o tls "$FILES":/ /srv/files
mkdir -p /srv/files/uploads
chown www-data /srv/files/uploads

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
    rm -rf "$root/wp-content/uploads"
    ln -s /srv/files/uploads "$root/wp-content/uploads"
    mkdir -p "$root/wp-content/mu-plugins"
    cp /opt/provision/login.php "$root/wp-content/mu-plugins/provision-login.php"
    wp config create --path="$root" --force --dbhost="$DB_HOST" --dbname=wordpress --dbuser="$(secret .db_user)" --prompt=dbpass --extra-php <<PHP
$(secret .db_password)
define('DISABLE_WP_CRON', true);
define('PROVISION_API', '$API');
define('WP_HOME', 'https://' . \$_SERVER['HTTP_HOST']);
define('WP_SITEURL', 'https://' . \$_SERVER['HTTP_HOST']);
$(jq -r '.salts | to_entries[] | "define(\u0027" + .key + "\u0027, \u0027" + .value + "\u0027);"' $run/secret.json)
PHP
    auth=
    if [ "$3" = auth ]; then
        printf 'admin:%s\n' "$(secret .basic_auth_password | openssl passwd -6 -stdin)" > /etc/nginx/provision.htpasswd
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
secret .admin_password > $run/admin
(
    flock 9
    wp core is-installed --path="$main" || wp core install --path="$main" --url="https://$HOST" --title="$HOST" --skip-email \
        --admin_user="$(secret .admin_user)" --admin_email="admin@$HOST" --prompt=admin_password < $run/admin
) 9> /srv/files/.install
rm -f $run/admin

echo "* * * * * www-data flock -n /srv/files/.cron wp cron event run --due-now --path=$main --quiet" > /etc/cron.d/provision
systemctl enable --now php-fpm nginx
systemctl reload nginx
