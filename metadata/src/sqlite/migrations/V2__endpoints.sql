-- A broker is reached by several listeners. Written as advertised.listeners: NAME://host:port,...
ALTER TABLE brokers ADD COLUMN endpoints TEXT NOT NULL DEFAULT '';
UPDATE brokers SET endpoints = 'PLAINTEXT://' || host || ':' || port;
ALTER TABLE brokers DROP COLUMN host;
ALTER TABLE brokers DROP COLUMN port;
