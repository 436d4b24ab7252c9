-- A state directory's journal as asset-worker 0.1.0 left it (commit 9fcc310, schema 2), with its blobs as text.
--
-- How it was made, with that version's worker and simulator:
-- 1. A service settled twelve assets and was stopped by SIGTERM (which also wrote schedule-9fcc310.msgpack).
-- 2. A service with a second sink, a stdout that nobody read, took fourteen lines: one of the twelve again after its
--    dedupe window, three that ended, and assets that were kept waiting in each way: processing, one rendition or both
--    unfinished, a required rendition not shown, never visible, visible and then gone (`was`), never answered with
--    anything but 503. It was ended by kill -9 after 14 seconds.
-- 3. `--once`, with an API that did not answer, took a line that is no asset ID, two assets that it never looked at, and
--    an incomplete last line. It was ended by kill -9, too.
-- 4. The dead letter was written with that version's Journal: none of its sinks refused events.

PRAGMA application_id = 1634956151;
PRAGMA user_version = 2;

CREATE TABLE pending (
        asset_id TEXT PRIMARY KEY, origin TEXT NOT NULL, line INTEGER NOT NULL, options BLOB,
        accepted_at REAL NOT NULL, completion INTEGER NOT NULL, progress BLOB
    ) WITHOUT ROWID;
CREATE TABLE settled (
        asset_id TEXT PRIMARY KEY, completion INTEGER NOT NULL, outcome TEXT NOT NULL,
        accepted_at REAL NOT NULL, completed_at REAL NOT NULL
    ) WITHOUT ROWID;
CREATE INDEX settled_by_time ON settled (completed_at);
CREATE TABLE outbox (position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE sinks (name TEXT PRIMARY KEY, position INTEGER NOT NULL, mark BLOB);
CREATE TABLE dead_letters (
        sink TEXT NOT NULL, position INTEGER NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL, reason TEXT NOT NULL,
        PRIMARY KEY (sink, position)
    );
CREATE TABLE intakes (name TEXT PRIMARY KEY, position BLOB NOT NULL);
CREATE TABLE tally (outcome TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;

INSERT INTO pending VALUES ('01d89a024cdce7a6d7288ff6', 'file:/srv/demo/work/queue', 17, NULL, 1795727759.9738903, 1, CAST('{"polls":35,"phase_polls":34,"sighting":{"status":"processing","file_type":"video/mp4","method":"direct"},"waiting_on":["asset"],"waiting_at":1795727772.6492438}' AS BLOB));
INSERT INTO pending VALUES ('294c4ea3738d243a6e58d5ca', 'file:/srv/demo/work/queue', 21, CAST('{"hls":"required","thumbnail":"ignore","deadline":9000.0,"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}' AS BLOB), 1795727759.9738903, 1, CAST('{"polls":33,"phase_polls":33,"sighting":{"status":"ready","thumbnail":"ready","file_type":"video/mp4","method":"direct"},"waiting_on":["hls"],"ready_at":1795727759.9823515,"waiting_at":1795727772.8056152}' AS BLOB));
INSERT INTO pending VALUES ('70ef55b1a1f65507a2909cb6', 'file:/srv/demo/work/queue', 29, CAST('{"metadata":{"user":"ada"},"thumbnail":"required"}' AS BLOB), 1795727774.8507726, 1, NULL);
INSERT INTO pending VALUES ('7671863c0bdbc23a14c15c91', 'file:/srv/demo/work/queue', 23, NULL, 1795727759.9738903, 1, CAST('{"polls":32,"phase_polls":31,"sighting":{"status":"missing"},"waiting_on":["visibility"],"waiting_at":1795727772.6491842}' AS BLOB));
INSERT INTO pending VALUES ('8224b122c3e4a892d9196ada', 'file:/srv/demo/work/queue', 19, CAST('{"metadata":{"title":"Düne","n":[1,2.5,{"deep":null}],"big":1180591620717411303424}}' AS BLOB), 1795727759.9738903, 1, CAST('{"polls":33,"phase_polls":33,"sighting":{"status":"ready","hls":"processing","thumbnail":"ready","file_type":"video/mp4","method":"direct"},"waiting_on":["hls"],"ready_at":1795727759.9829898,"waiting_at":1795727772.8056939}' AS BLOB));
INSERT INTO pending VALUES ('84d4cd1f47ca7883ff5a52f1', 'file:/srv/demo/work/queue', 24, NULL, 1795727759.9738903, 1, CAST('{"polls":33,"phase_polls":32,"sighting":{"status":"missing","file_type":"video/mp4","method":"direct","was":"processing"},"waiting_on":["visibility"],"missing_at":1795727764.1550477,"waiting_at":1795727772.6492019}' AS BLOB));
INSERT INTO pending VALUES ('995253fd6c79a3de69f85e31', 'file:/srv/demo/work/queue', 20, NULL, 1795727759.9738903, 1, CAST('{"polls":33,"phase_polls":33,"sighting":{"status":"ready","hls":"pending","thumbnail":"processing","file_type":"video/mp4","method":"direct"},"waiting_on":["hls","thumbnail"],"ready_at":1795727759.9835768,"waiting_at":1795727772.6492748}' AS BLOB));
INSERT INTO pending VALUES ('ac7cc4a4ff4dab102522d538', 'file:/srv/demo/work/queue', 26, NULL, 1795727759.9738903, 1, CAST('{"polls":12,"phase_polls":6,"waiting_on":["answer"]}' AS BLOB));
INSERT INTO pending VALUES ('b36cc9aa78a330a1a5e333cb', 'file:/srv/demo/work/queue', 25, CAST('{"hls":"if_requested"}' AS BLOB), 1795727759.9738903, 1, CAST('{"polls":33,"phase_polls":32,"sighting":{"status":"missing","hls":"processing","file_type":"video/mp4","method":"direct","was":"ready"},"waiting_on":["visibility"],"ready_at":1795727759.984259,"missing_at":1795727764.1552432,"waiting_at":1795727772.6492324}' AS BLOB));
INSERT INTO pending VALUES ('b8a1abcd1a6916c74da4f9fc', 'file:/srv/demo/work/queue', 13, NULL, 1795727759.9738903, 2, CAST('{"polls":35,"phase_polls":34,"sighting":{"status":"processing","file_type":"video/mp4","method":"direct"},"waiting_on":["asset"],"waiting_at":1795727772.6492114}' AS BLOB));
INSERT INTO pending VALUES ('d0060cc54278c2614e1bcb38', 'file:/srv/demo/work/queue', 22, CAST('{"deadline":7200.5}' AS BLOB), 1795727759.9738903, 1, CAST('{"polls":34,"phase_polls":34,"sighting":{"status":"processing","file_type":"video/mp4","method":"direct"},"waiting_on":["asset"],"waiting_at":1795727772.64926}' AS BLOB));
INSERT INTO pending VALUES ('e1df8af9b474c7e89286a175', 'file:/srv/demo/work/queue', 18, NULL, 1795727759.9738903, 1, CAST('{"polls":35,"phase_polls":34,"sighting":{"status":"processing","thumbnail":"pending","file_type":"image/jpeg","method":"direct"},"waiting_on":["asset"],"waiting_at":1795727772.6491182}' AS BLOB));
INSERT INTO pending VALUES ('e9dd38b869ace91311021c9e', 'file:/srv/demo/work/queue', 28, NULL, 1795727774.8507726, 1, NULL);

INSERT INTO settled VALUES ('1710cf5327ac435a7a97c643', 1, 'ready', 1795727757.53567, 1795727757.5489328);
INSERT INTO settled VALUES ('2c33be0ac79d679346d4ac7a', 1, 'ready', 1795727757.53567, 1795727757.789029);
INSERT INTO settled VALUES ('3184ff27459142deccea2645', 1, 'ready', 1795727757.53567, 1795727757.553129);
INSERT INTO settled VALUES ('793d0e453f5082492d83a823', 1, 'failed', 1795727759.9738903, 1795727759.9932756);
INSERT INTO settled VALUES ('81862fc9634f806fabf4a07c', 1, 'ready', 1795727759.9738903, 1795727759.9929013);
INSERT INTO settled VALUES ('8963dc6e8534f45738d048ec', 1, 'ready', 1795727757.53567, 1795727757.5498343);
INSERT INTO settled VALUES ('8ca5996666ceab360512bd13', 1, 'ready', 1795727757.53567, 1795727757.790176);
INSERT INTO settled VALUES ('9b191bf4d8441b5616332aca', 1, 'ready', 1795727757.53567, 1795727757.5539377);
INSERT INTO settled VALUES ('a08179104a25e4664f5253a0', 1, 'ready', 1795727757.53567, 1795727757.5516722);
INSERT INTO settled VALUES ('b8a1abcd1a6916c74da4f9fc', 1, 'ready', 1795727757.53567, 1795727757.5617094);
INSERT INTO settled VALUES ('c3e1b258fd724452ccea71ff', 1, 'ready', 1795727757.53567, 1795727757.7899222);
INSERT INTO settled VALUES ('ce80c4b0a4042bb3d4341aad', 1, 'ready', 1795727757.53567, 1795727757.5560617);
INSERT INTO settled VALUES ('d93936e1daca3c06f5ff0c03', 1, 'ready', 1795727757.53567, 1795727757.562141);
INSERT INTO settled VALUES ('ef412ed6f1cfd99216df6486', 1, 'degraded', 1795727759.9738903, 1795727759.9947948);
INSERT INTO settled VALUES ('f165c8ce36e2f24b43000de0', 1, 'ready', 1795727757.53567, 1795727757.55743);

INSERT INTO outbox VALUES (13, '81862fc9634f806fabf4a07c.1', CAST('{"specversion":"1.0","id":"81862fc9634f806fabf4a07c.1","source":"http://127.0.0.1:38477/v1.3/assets","type":"dev.asset-worker.asset.ready","subject":"81862fc9634f806fabf4a07c","time":"2026-11-26T21:15:59.992Z","datacontenttype":"application/json","data":{"asset_id":"81862fc9634f806fabf4a07c","outcome":"ready","reason":null,"renditions":{"hls":null,"thumbnail":null},"asset":{"_id":"81862fc9634f806fabf4a07c","created_at":"2026-11-26T21:15:59.354Z","file_type":"video/mp4","filename":"file-13.mp4","method":"direct","status":"ready","size":45286393,"technical_metadata":{"size":45286393},"duration":60},"submitted_at":"2026-11-26T21:15:59.973Z","ready_at":"2026-11-26T21:15:59.992Z","completed_at":"2026-11-26T21:15:59.992Z","last_seen_waiting_at":null,"polls":2,"submission":{"source":"file:/srv/demo/work/queue:14","metadata":{}}}}' AS BLOB));
INSERT INTO outbox VALUES (14, '793d0e453f5082492d83a823.1', CAST('{"specversion":"1.0","id":"793d0e453f5082492d83a823.1","source":"http://127.0.0.1:38477/v1.3/assets","type":"dev.asset-worker.asset.failed","subject":"793d0e453f5082492d83a823","time":"2026-11-26T21:15:59.992Z","datacontenttype":"application/json","data":{"asset_id":"793d0e453f5082492d83a823","outcome":"failed","reason":"no frames","renditions":{"hls":null,"thumbnail":null},"asset":{"_id":"793d0e453f5082492d83a823","created_at":"2026-11-26T21:15:59.354Z","file_type":"video/mp4","filename":"file-14.mp4","method":"direct","status":"failed","size":33404241,"technical_metadata":{},"error":{"message":"no frames"}},"submitted_at":"2026-11-26T21:15:59.973Z","ready_at":null,"completed_at":"2026-11-26T21:15:59.992Z","last_seen_waiting_at":null,"polls":2,"submission":{"source":"file:/srv/demo/work/queue:15","metadata":{}}}}' AS BLOB));
INSERT INTO outbox VALUES (15, 'ef412ed6f1cfd99216df6486.1', CAST('{"specversion":"1.0","id":"ef412ed6f1cfd99216df6486.1","source":"http://127.0.0.1:38477/v1.3/assets","type":"dev.asset-worker.asset.degraded","subject":"ef412ed6f1cfd99216df6486","time":"2026-11-26T21:15:59.994Z","datacontenttype":"application/json","data":{"asset_id":"ef412ed6f1cfd99216df6486","outcome":"degraded","reason":"hls ended in error","renditions":{"hls":"error","thumbnail":null},"asset":{"_id":"ef412ed6f1cfd99216df6486","created_at":"2026-11-26T21:15:59.354Z","file_type":"video/mp4","filename":"file-15.mp4","method":"direct","status":"ready","size":37581641,"technical_metadata":{"size":37581641},"duration":60,"hls":{"status":"error"}},"submitted_at":"2026-11-26T21:15:59.973Z","ready_at":"2026-11-26T21:15:59.994Z","completed_at":"2026-11-26T21:15:59.994Z","last_seen_waiting_at":null,"polls":2,"submission":{"source":"file:/srv/demo/work/queue:16","metadata":{}}}}' AS BLOB));
INSERT INTO outbox VALUES (16, 'rejected.0fc1e6a688ad9378b5fdb34b', CAST('{"specversion":"1.0","id":"rejected.0fc1e6a688ad9378b5fdb34b","source":"http://127.0.0.1:38477/v1.3/assets","type":"dev.asset-worker.asset.rejected","time":"2026-11-26T21:16:14.850Z","datacontenttype":"application/json","data":{"asset_id":null,"outcome":"rejected","reason":"an asset ID has 1 to 64 letters, digits, ''-'' or ''_''","line":"no asset 1","renditions":{"hls":null,"thumbnail":null},"asset":null,"submitted_at":"2026-11-26T21:16:14.850Z","ready_at":null,"completed_at":"2026-11-26T21:16:14.850Z","last_seen_waiting_at":null,"polls":0,"submission":{"source":"file:/srv/demo/work/queue:27","metadata":{}}}}' AS BLOB));
INSERT INTO outbox VALUES (17, 'rejected.ef1093248d0700e31e0a0c66', CAST('{"specversion":"1.0","id":"rejected.ef1093248d0700e31e0a0c66","source":"http://127.0.0.1:38477/v1.3/assets","type":"dev.asset-worker.asset.rejected","time":"2026-11-26T21:16:15.872Z","datacontenttype":"application/json","data":{"asset_id":null,"outcome":"rejected","reason":"the line is not JSON: Input data was truncated","line":"{\"asset_id\": \"","renditions":{"hls":null,"thumbnail":null},"asset":null,"submitted_at":"2026-11-26T21:16:15.872Z","ready_at":null,"completed_at":"2026-11-26T21:16:15.872Z","last_seen_waiting_at":null,"polls":0,"submission":{"source":"file:/srv/demo/work/queue:30","metadata":{}}}}' AS BLOB));

INSERT INTO sinks VALUES ('file:/srv/demo/work/events.jsonl', 16, CAST('{"inode":1466379,"offset":15273,"landmark":"d73fcf6a12728585da27e3c2"}' AS BLOB));

INSERT INTO dead_letters VALUES ('stdout', 1, 'b8a1abcd1a6916c74da4f9fc.1', CAST('{"id":"b8a1abcd1a6916c74da4f9fc.1"}' AS BLOB), 'refused');

INSERT INTO intakes VALUES ('file:/srv/demo/work/queue', CAST('{"files":[{"device":65024,"inode":1466373,"offset":1172,"line":30,"head_bytes":1024,"head":"ae6f5d869428c0d47e08d89f78c42068","tail_bytes":256,"tail":"5d599d8e3a9a479fbd8154e19d4d795b","rejected":0}],"retired":[],"since":1795727774019977565,"version":1}' AS BLOB));

INSERT INTO tally VALUES ('rejected', 2);
