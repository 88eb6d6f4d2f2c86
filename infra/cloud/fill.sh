#!/bin/sh
# Prints a description of a cluster with the environment's GAN_... in place of ${GAN_...}, and says which are missing.
#
#     infra/cloud/fill.sh infra/cloud/aws.yaml > gan-aws.yaml
set -eu

missing=
script=
# shellcheck disable=SC2016 # they stand for themselves
for name in $(grep -o '${GAN_[A-Z_]*}' "$1" | sort -u | tr -d '${}'); do
    value=$(printenv "$name" || true)
    if [ -z "$value" ]; then
        missing="$missing $name"
    fi
    script="$script;s|\${$name}|$(printf %s "$value" | sed 's/[|&\\]/\\&/g')|g"
done
if [ -n "$missing" ]; then
    echo "fill.sh: $1 wants$missing in the environment; infra/README.md says what they are" >&2
    exit 2
fi
# In the header they stand for themselves.
sed "/^#/!{${script#;}}" "$1"
