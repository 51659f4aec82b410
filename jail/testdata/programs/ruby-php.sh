# needs: ruby php
ruby -e 'require "json"; require "digest"; require "tempfile"; require "open3"; $stdout.sync = true
puts JSON.generate({a: [1, 2]}), Digest::SHA256.hexdigest("x"); Tempfile.create("a") { |f| f.puts "hi"; f.flush; puts File.size(f.path) }
o, s = Open3.capture2("cat", stdin_data: "in"); puts o, s.exitstatus
p (1..5).map { |i| Thread.new { i * i } }.map(&:value); pid = fork { exit! 3 }; Process.wait pid; p $?.exitstatus
r, w = IO.pipe; w.puts "x"; p r.gets; trap("USR1") { puts "usr1" }; Process.kill("USR1", $$); sleep 0.05
q = Queue.new; Thread.new { sleep 0.01; q << 1 }; p q.pop, IO.select([r], nil, nil, 0.05); puts RUBY_VERSION'
exec php -r 'echo json_encode(["a" => [1, 2]]), "\n", hash("sha256", "x"), "\n"; file_put_contents("a", "hi");
echo file_get_contents("a"), filesize("a"), "\n", shell_exec("echo sub");
$p = proc_open(["cat"], [["pipe", "r"], ["pipe", "w"]], $pp); fwrite($pp[0], "in"); fclose($pp[0]);
echo stream_get_contents($pp[1]), "\n"; fclose($pp[1]); echo proc_close($p), preg_replace("/a+/", "b", "caat"), "\n";'
