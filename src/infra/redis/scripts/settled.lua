#!lua flags=no-writes
-- Nothing: that it runs says that the server's data can be relied on (infra/redis/scripts.ts).
return 1
