#!/bin/sh
# Makes the secrets of a cluster: random ones, a file each, in a folder that only you can enter (infra/secrets, or the
# one given). What is there already is kept, so that it can be run again.
#
#     infra/secrets.sh [FOLDER]
set -eu

folder=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$folder"

random() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }

# A container reads the file as another user than you: the folder is what keeps others on this machine out.
keep() {
    if [ ! -s "$folder/$1" ]; then
        cat > "$folder/.$1"
        chmod 0444 "$folder/.$1"
        mv "$folder/.$1" "$folder/$1"
    fi
}

random 32 | keep ray_token
random 24 | keep postgres_password
random 24 | keep mlflow_password
random 32 | keep mlflow_session_key
random 10 | keep s3_access_key
random 24 | keep s3_secret_key

# The same, as MLflow's and Amazon's clients read them.
keep mlflow_credentials <<END
[mlflow]
mlflow_tracking_username = gan
mlflow_tracking_password = $(cat "$folder/mlflow_password")
END
keep aws_credentials <<END
[default]
aws_access_key_id = $(cat "$folder/s3_access_key")
aws_secret_access_key = $(cat "$folder/s3_secret_key")
END
echo "secrets lie in $folder"
