"""Follows the account: every new asset is watched, without anybody submitting it.

Two readers share one list of assets, which is sorted by creation, newest first, and has no cursor. The *follower* reads
the newest page again and again, and older ones after a change. The *backfill* reads what is older than that, down to
where `account.since` says, while the follower goes on.

What a page means is decided in `walk`, `follower` and `backfill`, which are pure; `intake` reads the pages. When in
doubt a page is read again: the queue drops repeats, but a skipped asset is lost.
"""
