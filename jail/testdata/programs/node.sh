# needs: node
node -e '
const fs = require("fs"), cp = require("child_process"), crypto = require("crypto"), zlib = require("zlib");
fs.writeFileSync("a", "hello");
console.log(fs.readFileSync("a", "utf8"), fs.statSync("a").size, crypto.createHash("sha256").update("x").digest("hex"));
console.log(cp.execSync("echo sub").toString(), zlib.gunzipSync(zlib.gzipSync("zz")).toString());
setTimeout(() => console.log("timer"), 20);
const c = cp.spawn("cat"); c.stdout.on("data", d => console.log("cat", d.toString())); c.on("close", x => console.log("close", x)); c.stdin.end("in");
fs.readdir("/usr/bin", (e, l) => console.log(l.length > 10));
const {Worker} = require("worker_threads");
new Worker("require(\"worker_threads\").parentPort.postMessage(7)", {eval: true}).on("message", m => console.log("worker", m));
process.on("exit", () => console.log("exit", process.argv.length));
' | sort
node -e 'process.kill(process.pid, "SIGTERM")'; echo $?
echo 'console.log("stdin")' | node -; node --version
