# needs: perl
exec perl -e 'use strict; use POSIX; use File::Temp qw(tempdir); use Data::Dumper; use Digest::MD5 qw(md5_hex);
$| = 1; $Data::Dumper::Sortkeys = 1;
my %h = map { $_ => $_ * $_ } 1 .. 5; print Dumper(\%h), md5_hex("x"), "\n";
my $d = tempdir(CLEANUP => 1); open my $f, ">", "$d/a" or die; print $f "l$_\n" for 1 .. 100; close $f;
open $f, "<", "$d/a"; my @l = <$f>; print scalar(@l), " ", -s "$d/a", "\n";
my $p = fork; exit 3 if !$p; waitpid $p, 0; print $? >> 8, "\n";
print `echo sub; uname -s`; open(my $ph, "-|", "seq 5") or die; print while <$ph>; close $ph;
$SIG{ALRM} = sub { print "alarm\n" }; alarm 1; select undef, undef, undef, 30;
pipe(my $r, my $w); if (!fork) { close $r; print $w "hi\n"; close $w; POSIX::_exit(0) } close $w; print <$r>; wait;
print strftime("%F", gmtime 0), " ", join("|", "a1b22c333" =~ /\d+/g), "\n";
system "sh", "-c", "exit 4"; print $? >> 8, "\n"; exec "echo", "replaced"'
perl -e '$0 = "a name of its own"; open F, "</proc/$$/cmdline"; print <F> =~ s/\0.*//r, "\n"; print `ps -o args= -p $$`'
