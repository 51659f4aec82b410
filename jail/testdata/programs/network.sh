# needs: python3 gcc node java busybox
python3 -c 'import socket
print([i for i in socket.if_nameindex() if i[1] == "lo"], socket.if_nametoindex("lo"), socket.if_indextoname(1))'
node -e 'console.log(JSON.stringify(require("os").networkInterfaces().lo.filter(i => i.family == "IPv4")))'
cat > a.c <<'X'
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
int main(void) {
	struct ifaddrs *a, *p;
	if (getifaddrs(&a)) { perror("getifaddrs"); return 1; }
	for (p = a; p; p = p->ifa_next) {
		char host[100] = "", mask[100] = "";
		int family = p->ifa_addr->sa_family, n = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
		if (strcmp(p->ifa_name, "lo") || family == AF_INET6) continue; // not every host has ::1
		if (family != AF_PACKET) {
			getnameinfo(p->ifa_addr, n, host, sizeof host, 0, 0, NI_NUMERICHOST);
			getnameinfo(p->ifa_netmask, n, mask, sizeof mask, 0, 0, NI_NUMERICHOST);
		}
		printf("%x %d %s %s\n", p->ifa_flags, family, host, mask);
	}
	printf("%s %d\n", if_nameindex()->if_name, if_nametoindex("nosuch"));
	struct addrinfo hint = {.ai_flags = AI_NUMERICHOST}, *r;
	printf("%d", getaddrinfo("::1", "80", &hint, &r));
	for (; r; r = r->ai_next) printf(" %d %d", r->ai_family, r->ai_socktype);
	puts("");
}
X
gcc -o a a.c && ./a
cat > N.java <<'X'
public class N { public static void main(String[] a) throws Exception {
	java.net.NetworkInterface i = java.net.NetworkInterface.getByName("lo");
	System.out.println(i + " " + i.isUp() + i.isLoopback() + i.getMTU() + " " + i.getIndex() + " " + i.getInterfaceAddresses().stream().filter(x -> x.getAddress() instanceof java.net.Inet4Address).toList());
}}
X
java N.java
busybox ip -4 addr show lo | grep -v qdisc
busybox ip route get 127.0.0.1
busybox ifconfig lo | grep -v inet6 | head -3
