"""Every maximum of the system by name, and the relations between them, checked when this module loads.

A number that bounds something stands here and nowhere else. The wire's limits are the same on every server of v1.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# The wire (docs/protocol.md, "Push" and "Pull").
PUSH_OPS_MAX: Final = 1_000
OP_BYTES_MAX: Final = 256 * KIB
BODY_BYTES_MAX: Final = 8 * MIB
BODY_INFLATED_BYTES_MAX: Final = 32 * MIB
MESSAGE_BYTES_MAX: Final = 4 * MIB  # any other request: the longest lawful have-vector
PULL_OPS_MAX: Final = 1_000
PULL_OPS_DEFAULT: Final = 500
PULL_PAGE_BYTES_MAX: Final = 8 * MIB
PULL_WAIT_S_MAX: Final = 30
PAYLOAD_DEPTH_MAX: Final = 64
PARENTS_MAX: Final = 256
PROBLEMS_MAX: Final = 20  # that are told of one payload
INTEGER_MAX: Final = 2**53 - 1
HAVE_DEVICES_MAX: Final = 10_000
HAVE_RANGES_MAX: Final = 100_000
LIST_PAGE_MAX: Final = 500
LIST_PAGE_DEFAULT: Final = 100
REQUEST_ID_CHARS_MAX: Final = 128
TOKEN_CHARS_MAX: Final = 16 * KIB
CURSOR_CHARS_MAX: Final = 512
SEARCH_CHARS_MAX: Final = 200
NAME_CHARS_MAX: Final = 120
EMAIL_CHARS_MAX: Final = 254
PASSWORD_CHARS_MAX: Final = 1_024
PASSWORD_HASH_CHARS_MAX: Final = 256
CODE_CHARS_MAX: Final = 64
URL_CHARS_MAX: Final = 512
CSR_CHARS_MAX: Final = 8 * KIB
CERTIFICATE_CHARS_MAX: Final = 16 * KIB
DEVICE_KEYS_MAX: Final = 64
HUB_NAMES_MAX: Final = 8
HUB_NAME_CHARS_MAX: Final = 260  # a DNS name and its port
ADOPTED_MAX: Final = 2_000  # devices, users, sites and sessions that a hub brings which began alone
ADOPTED_TOKENS_MAX: Final = 8  # of each of these sessions

# HTTP: what one connection may cost, and how long nothing may happen on it.
CONNECTIONS_MAX: Final = 4_096
REQUEST_LINE_BYTES_MAX: Final = 8 * KIB
HEADER_BYTES_MAX: Final = TOKEN_CHARS_MAX + KIB
HEADERS_MAX: Final = 64
KEEPALIVE_S: Final = 75
PREFLIGHT_S: Final = 600  # how long a browser remembers that a page may ask
STALLED_S: Final = 30
BODIES_BYTES_MAX: Final = 128 * MIB
# Bodies of who shows no token: they take nothing from the others. The free part of each is bounded by the connections.
ANONYMOUS_BODY_BYTES_MAX: Final = 64 * KIB
ANONYMOUS_BODY_BYTES_FREE: Final = 4 * KIB
ANONYMOUS_BODIES_BYTES_MAX: Final = 8 * MIB
ANONYMOUS_BODY_S: Final = 15
CLAIM_BYTES_MAX: Final = 3 * MIB  # of a hub that brings what it had alone
INLINE_CODING_BYTES_MAX: Final = 256 * KIB
COMPRESS_BYTES_MIN: Final = KIB
ZSTD_WINDOW_BYTES_MAX: Final = 8 * MIB
QUERY_PARAMETERS_MAX: Final = 16

# Streams.
STREAM_PING_S: Final = 15
STREAM_PING_S_MIN: Final = 1
STREAM_PING_S_MAX: Final = 20
STREAM_OPS_MAX: Final = 100  # in one event, which waits in memory where its reader is slow
STREAMS_MAX: Final = 2_000
STREAMS_PER_DEVICE_MAX: Final = 8

# Live lines (medxz/wire/live.py): what one message holds, how many lines there may be, how long one may be silent.
LIVE_TEXT_BYTES_MAX: Final = 64 * KIB
LIVE_PACKED_BYTES_MAX: Final = 64 * KIB
LIVE_LINES_MAX: Final = 1_000
LIVE_LINES_PER_HUB_MAX: Final = 4  # one, and those that it lost and the server has not missed yet
LIVE_IDLE_S: Final = 300

# Snapshots: how many at once, and how much of one is made ahead of who reads it.
SNAPSHOTS_MAX: Final = 8
SNAPSHOT_RETRY_S: Final = 5
SNAPSHOT_BATCH_ENTITIES: Final = 500

# A piece of a hub's backup on its way to the cloud.
BACKUP_PIECE_BYTES: Final = 2 * MIB
BACKUP_PIECE_CHARS_MAX: Final = 3 * MIB

# Bundles of the hubs' software: how long one may be, how many are on their way at once.
RELEASE_BYTES_MAX: Final = 4 * 1024 * MIB
RELEASE_DOWNLOADS_MAX: Final = 64
RELEASE_RETRY_S: Final = 300
RELEASES_MAX: Final = 100
PUSHES_HELD_S_MAX: Final = 120  # before a restart, which is over by then

# The fleet: how often a hub reports, after which silence it is away, and how long a rollout may wait for one.
FLEET_HUBS_MAX: Final = 100_000
RINGS_MAX: Final = 16
REPORT_EVERY_S: Final = 300
REPORT_EVERY_S_MIN: Final = 5
REPORTS_AT_ONCE_MAX: Final = 20
REPORTED_WHY_CHARS_MAX: Final = 300
HUB_AWAY_S: Final = 3 * REPORT_EVERY_S
ROLLOUT_WAIT_S_MAX: Final = 90 * 86_400
ROLLOUT_FAILED_TOLD_MAX: Final = 100
OPERATOR_TOKEN_DAYS: Final = 365
OPERATOR_TOKEN_DAYS_MAX: Final = 3_650

# Entities of many ops that are worked out at the same time: each can take as much memory as a clinic's day of ops.
LARGE_ENTITIES_MAX: Final = 2

# How long a status waits for what is derived; a question that is about that waits longer.
STATUS_CATCH_UP_S: Final = 2.0

# A push body that is parsed on the event loop; a longer one goes to a worker.
INLINE_PARSE_BYTES_MAX: Final = 64 * KIB
# Ops that are put into a transaction on the event loop; more go to the writer's worker.
INLINE_WRITE_BYTES_MAX: Final = 64 * KIB

# The writer: what may wait for it, and how much one transaction takes.
WRITER_QUEUE_OPS_MAX: Final = 20_000
WRITER_QUEUE_BYTES_MAX: Final = 64 * MIB
TRANSACTION_OPS_MAX: Final = 2_000
BLOCK_OPS: Final = 1_000
AUTHORS_IN_DICTIONARY_MAX: Final = 64
INDEX_BLOCKS: Final = (
    8  # blocks between two writings of the index by entity; what lies between is read at start
)
ENTITIES_KNOWN_BYTES_MAX: Final = 2 * MIB  # of entities that pushes touched lately
FRESH_OPS_BYTES_MAX: Final = 1 * MIB  # of ops that are likely to be followed soon
ENTITY_BASE_OPS: Final = 32  # after so many ops what an entity has come to is written down
CHECKPOINT_BYTES: Final = 64 * MIB  # of op texts: about a third of that in the write-ahead log
COMMIT_S_MAX: Final = 10  # that anybody is kept waiting for a database elsewhere; a commit is never cut off
OVERLOADED_RETRY_S: Final = 1
STORAGE_FULL_RETRY_S: Final = 30

# Below this much room on the disk, /health says so; below the second, or this part of a small disk, nothing is stored
# any more: the rest is for what was acknowledged, for the audit, and for coming back.
DISK_FREE_BYTES_MIN: Final = 256 * MIB
DISK_RESERVED_BYTES: Final = 64 * MIB
DISK_RESERVED_PART: Final = 50

# The write-ahead log: what it is cut back to, and what it may grow to before something is wrong.
WAL_BYTES_KEPT: Final = 64 * MIB
WAL_BYTES_MAX: Final = 256 * MIB

# What a courier carries: a frame holds a page; so many bytes, or ops and answers, begin another file.
COURIER_FRAME_BYTES_MAX: Final = 32 * MIB
COURIER_SLICE_BYTES: Final = 64 * MIB
COURIER_SLICES_MAX: Final = 9_999
COURIER_OPS_MAX: Final = 100_000

# Ops kept in memory for those who read at the head of the log.
TAIL_OPS_MAX: Final = 1_024
TAIL_BYTES_MAX: Final = 1 * MIB
# Pages kept in memory for those who catch up, and how many are read before anybody asks.
CACHED_PAGES_BYTES_MAX: Final = 2 * MIB
PAGES_AHEAD_MAX: Final = 2

# Token buckets, for each device.
REQUESTS_PER_S: Final = 2_000
REQUESTS_BURST: Final = 4_000
OPS_PER_S: Final = 200_000
OPS_BURST: Final = 400_000
BUCKETS_MAX: Final = 20_000

# What the cloud keeps open of its clinics, and of what is derived from their logs.
CLOUD_CONNECTIONS_MAX: Final = 16_384
CLOUD_STREAMS_MAX: Final = 12_000
CLINICS_OPEN_MAX: Final = 1_000
FOLLOWERS_MAX: Final = 100
CLINIC_IDLE_S: Final = 300  # longer than any request takes that has been let in

# Who is remembered between two requests.
VERIFIED_TOKENS_MAX: Final = 10_000
TOKEN_LEEWAY_S: Final = 5

# Directories of clinics in memory that nobody is using now.
DIRECTORIES_MAX: Final = 1_000
DIRECTORIES_POLL_S: Final = 0.5

# Between two droppings of the sessions, codes and failures that are over.
FORGETTING_S: Final = 3_600

# The audit: what waits to be written together, how long, and of how many clinics an end is remembered.
AUDIT_WAITING_MAX: Final = 10_000
AUDIT_FLUSH_S: Final = 0.2
AUDIT_FLUSH_ENTRIES: Final = 500
AUDIT_VERIFY_ENTRIES: Final = 500
AUDIT_ENDS_MAX: Final = 10_000
AUDIT_DETAIL_BYTES_MAX: Final = 4 * KIB

# The LAN: hubs that are heard of by mDNS, and addresses that one of them may have.
ANNOUNCED_MAX: Final = 64
ANNOUNCED_ADDRESSES_MAX: Final = 32

# Time.
KEEP_OWN_DAYS: Final = 14
OFFLINE_SESSION_HOURS: Final = 72
ACCESS_TOKEN_S: Final = 15 * 60
SHUTDOWN_S_MAX: Final = 5

assert PULL_OPS_DEFAULT <= PULL_OPS_MAX
assert OP_BYTES_MAX < BODY_BYTES_MAX < BODY_INFLATED_BYTES_MAX
assert PUSH_OPS_MAX <= TRANSACTION_OPS_MAX <= WRITER_QUEUE_OPS_MAX
assert BODY_INFLATED_BYTES_MAX <= WRITER_QUEUE_BYTES_MAX, "the largest lawful push must fit an empty queue"
assert BODY_BYTES_MAX + BODY_INFLATED_BYTES_MAX <= BODIES_BYTES_MAX, "one largest body must fit"
assert ANONYMOUS_BODY_BYTES_FREE < ANONYMOUS_BODY_BYTES_MAX <= CLAIM_BYTES_MAX <= MESSAGE_BYTES_MAX
assert 2 * TOKEN_CHARS_MAX < ANONYMOUS_BODY_BYTES_MAX, "a session is renewed by a token and a proof"
assert CSR_CHARS_MAX + CERTIFICATE_CHARS_MAX < ANONYMOUS_BODY_BYTES_MAX
assert 2 * CLAIM_BYTES_MAX <= ANONYMOUS_BODIES_BYTES_MAX < BODIES_BYTES_MAX, "one claim must fit"
assert 1_500 * ADOPTED_MAX <= CLAIM_BYTES_MAX, (
    "what may be brought fits: 1,500 bytes for a device with its key and authors, a person and a session"
)
assert max(CONNECTIONS_MAX, CLOUD_CONNECTIONS_MAX) * ANONYMOUS_BODY_BYTES_FREE <= BODIES_BYTES_MAX
assert ANONYMOUS_BODY_S <= STALLED_S
assert OP_BYTES_MAX <= PULL_PAGE_BYTES_MAX, "a page holds at least one op"
assert DISK_RESERVED_BYTES < DISK_FREE_BYTES_MIN, "it is told before anything is refused"
assert CHECKPOINT_BYTES // 3 < WAL_BYTES_KEPT < WAL_BYTES_MAX
assert 4 * BACKUP_PIECE_BYTES < 3 * BACKUP_PIECE_CHARS_MAX < 3 * MESSAGE_BYTES_MAX, "base64 takes four thirds"
assert STREAM_PING_S_MIN < STREAM_PING_S < STREAM_PING_S_MAX
assert STREAMS_MAX < CONNECTIONS_MAX, "streams leave room for requests"
assert LIVE_LINES_PER_HUB_MAX < LIVE_LINES_MAX < CONNECTIONS_MAX
assert PUSH_OPS_MAX <= OPS_BURST, "one full push must fit an unused bucket"
assert CLOUD_STREAMS_MAX < CLOUD_CONNECTIONS_MAX
assert CLINIC_IDLE_S > PULL_WAIT_S_MAX + STALLED_S, "nobody still uses a clinic that is idle"
