#!/bin/sh
# Tells the service what a file is about and mails what it answers.
set -eu
id=$(curl -fsS --data-binary "@$1" https://api.example.com/reports)
curl -fsS "https://api.example.com/reports/$id" | mail -s "report $id" boss
