#!/bin/sh
set -eu
exec 2>@summary@.errors
export RESTIC_PROGRESS_FPS=0.02
rm -rf @summary@ @copies@
mkdir -p @copies@ @layout.sessions_dir@ @layout.files_dir@ @layout.private_files_dir@
trap 'rm -rf @copies@' EXIT
cp -a @layout.sessions_dir@ @sessions@ || true
if [ -e @dump_wanted@ ]; then
  # mariadb-dump refuses the history of these, and then the whole dump; it has the option since 10.11.
  by_transactions=$(@tool.mariadb@ @client@ --connect-timeout=30 --batch --skip-column-names \
    --execute="@by_transactions@")
  history=--loose-dump-history
  [ -z "$by_transactions" ] || history=
  @tool.mariadb-dump@ @client@ --single-transaction --quick --skip-add-locks $history \
    --routines --events --default-character-set=utf8mb4 --add-drop-database \
    --databases @layout.codebase@ >@dump@
else
  @mariadb_backup@ --no-defaults --backup --socket=@layout.mysql_socket@ --user=@layout.user@ \
    --target-dir=@base@
  # It is called otherwise since MariaDB 11, and is not there without a binary log.
  cat @base@/*_binlog_info >@base_position@ || rm @base_position@
fi
cd @layout.data_dir@
@tool.restic@ backup --json --tag @key@ \
  @copies_in_data@ @layout.files_dir.name@ @layout.private_files_dir.name@ >@summary@.new
mv @summary@.new @summary@
