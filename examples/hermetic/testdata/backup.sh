#!/bin/sh
# Packs a directory and keeps the two newest archives.
set -eu
mkdir -p backups
tar -cf "backups/$(date +%F).tar" --sort=name "$1"
ls -r backups | tail -n +3 | while read -r old; do rm "backups/$old"; done
