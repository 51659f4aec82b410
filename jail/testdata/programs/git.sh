# needs: git
export GIT_AUTHOR_DATE='2000-01-01T00:00:00Z' GIT_COMMITTER_DATE='2000-01-01T00:00:00Z' GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
git init -q -b main r && cd r && git config user.name n && git config user.email e@example.com
mkdir d; seq 100 > a; seq 5 > d/b; git add . && git commit -qm one
for i in $(seq 50); do echo $i > f$i; done; git add -A && git commit -qm two
git log --stat; echo x >> a; rm f3; echo n > new; git status; git diff
git stash -q; git status -s; git stash pop -q; git checkout -q -b br; git commit -qam br
git checkout -q main; git merge -q br; git log --oneline --graph; git gc -q; git fsck
git clone -q . ../c && cd ../c && git log --oneline && git archive HEAD | sha256sum; git grep 99; git blame a | tail -1
