# needs: sqlite3
{
	echo "create table t(id integer primary key, name text, v real); begin;"
	seq 1 20000 | sed "s/.*/insert into t values(&, 'name&', (& % 97) * 1.5);/"
	echo "commit; create index ix on t(v);
	select count(*), sum(v), max(name) from t;
	select v, count(*) from t group by v order by 2 desc, 1 limit 5;
	update t set name = upper(name) where id % 3 = 0; delete from t where id % 7 = 0;
	select count(*) from t where name like 'NAME%';
	pragma integrity_check; vacuum; pragma journal_mode = wal;
	insert into t select id + 100000, name, v from t limit 1000; select count(*) from t;"
} | sqlite3 db
ls && sqlite3 db 'select total(v) from t; pragma page_count' && sqlite3 db .dump | sha256sum
