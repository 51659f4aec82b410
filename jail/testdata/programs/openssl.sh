# needs: openssl
head -c 100000000 /dev/zero > z
openssl dgst -sha256 z && openssl dgst -sha1 < z
openssl enc -aes-128-ctr -K 00112233445566778899aabbccddeeff -iv 00000000000000000000000000000000 -in z | sha256sum
openssl rand 16 | wc -c && openssl version
openssl req -x509 -newkey rsa:2048 -nodes -keyout k -out c -days 1 -subj /CN=x 2> /dev/null && openssl verify -CAfile c c
