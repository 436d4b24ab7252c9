-- The users of the fleet in compose-fleet.yaml. The image of PostgreSQL runs this once, when its volume is new.
-- The two roles are those that `asset-worker fleet init` gives their rights to; it leaves them as they are.
CREATE ROLE asset_worker_worker NOLOGIN;
CREATE ROLE asset_worker_producer NOLOGIN;
CREATE USER worker IN ROLE asset_worker_worker;
CREATE USER uploader IN ROLE asset_worker_producer;
