#!/bin/bash
# What a machine does that is there to dump one database; it ends itself, however that went.
set -euo pipefail
umask 077
trap 'shutdown -h now' EXIT
@VALUES@
export AWS_DEFAULT_REGION="$REGION"
run=$(mktemp -d)

aws secretsmanager get-secret-value --secret-id "$SECRET" --query SecretString --output text > "$run/master.json"
printf '[client]\nhost=%s\nuser=%s\npassword="%s"\nssl-mode=REQUIRED\n' "$DB_HOST" "$(jq -r .username "$run/master.json")" "$(jq -r .password "$run/master.json")" > "$run/master.cnf"

# Only what is complete gets the name that is looked for.
mysqldump --defaults-extra-file="$run/master.cnf" --single-transaction --quick --no-tablespaces --set-gtid-purged=OFF --routines wordpress \
    | gzip | aws s3 cp - "$PLACE.part" --expected-size "$BYTES" --only-show-errors
aws s3 mv "$PLACE.part" "$PLACE" --only-show-errors
