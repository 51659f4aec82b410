# Makes a repository with some commits and packs it.
mkdir -p /tmp/repo && cd /tmp/repo || exit
export HOME=/tmp GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.com GIT_COMMITTER_NAME=b GIT_COMMITTER_EMAIL=b@example.com
git init -q -b main . && seq 1000 > numbers && mkdir -p d/e && echo text > d/e/f && git add . && git commit -qm first &&
	git checkout -qb side && echo more >> numbers && git commit -qam second && git checkout -q main && echo other > d/g && git add . &&
	git commit -qm third && git merge -q -m merged side && git stash list && git status && git gc -q && git log --graph --format=raw &&
	find .git -type f | sort | xargs sha256sum && ls -lai --time-style=full-iso .git
