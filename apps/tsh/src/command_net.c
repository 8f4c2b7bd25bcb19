/* Network and web server figures. */
#include <format.h>
#include <shell.h>
#include <tess/string.h>
#include <tess/stub/http.h>
#include <tess/stub/net.h>

enum net_flag : uint32_t { NET_LINK_UP = 1, NET_CONFIGURED = 2, NET_BY_DHCP = 4 };

static void print_address(struct shell *shell, const char *label, uint32_t address)
{
    char text[16];
    format_ipv4(text, sizeof(text), address);
    shell_print(shell, "  %-9s %s\n", label, text);
}

static void print_info(struct shell *shell)
{
    uint32_t flags, address, mask, gateway, dns;
    uint8_t mac[8];
    status_t status = tess_net_info(shell->handles.net, &flags, &address, &mask, &gateway, &dns, mac, shell_deadline());
    if (status != OK) {
        shell_error(shell, "net", status);
        return;
    }
    char text[24];
    format_mac(text, sizeof(text), mac);
    shell_print(shell, "link %s, %s, %s\n", flags & NET_LINK_UP ? "up" : "down", text,
                !(flags & NET_CONFIGURED) ? "no address yet"
                : flags & NET_BY_DHCP     ? "address by DHCP"
                                          : "static address");
    if (flags & NET_CONFIGURED) {
        print_address(shell, "address", address);
        print_address(shell, "mask", mask);
        print_address(shell, "gateway", gateway);
        print_address(shell, "dns", dns);
    }
}

static void print_counters(struct shell *shell)
{
    uint64_t rx_frames, tx_frames, rx_bytes, tx_bytes, dropped, accepted, memory_used;
    uint32_t open, time_wait, listening, restarts;
    status_t status = tess_net_counters(shell->handles.net, &rx_frames, &tx_frames, &rx_bytes, &tx_bytes, &dropped, &open, &time_wait,
                                        &listening, &accepted, &restarts, &memory_used, shell_deadline());
    if (status != OK) {
        shell_error(shell, "net", status);
        return;
    }
    char rx[24], tx[24], memory[24];
    format_size(rx, sizeof(rx), rx_bytes);
    format_size(tx, sizeof(tx), tx_bytes);
    format_size(memory, sizeof(memory), memory_used);
    shell_print(shell, "  received  %llu frames, %s; dropped %llu\n", (unsigned long long)rx_frames, rx, (unsigned long long)dropped);
    shell_print(shell, "  sent      %llu frames, %s\n", (unsigned long long)tx_frames, tx);
    shell_print(shell, "  TCP       %u open, %u in TIME_WAIT, %u listening, %llu accepted\n", open, time_wait, listening,
                (unsigned long long)accepted);
    shell_print(shell, "  driver    %u times reattached; stack uses %s\n", restarts, memory);
}

static void ping(struct shell *shell, const char *word)
{
    constexpr uint32_t TIMEOUT_MS = 2000;
    uint32_t address;
    uint64_t rtt_ns;
    if (!words_ipv4(word, &address)) {
        shell_print(shell, "net ping: \"%s\" is no IPv4 address\n", word);
        return;
    }
    status_t status = tess_net_ping(shell->handles.net, address, TIMEOUT_MS, &rtt_ns, shell_deadline());
    if (status != OK) {
        shell_error(shell, word, status);
        return;
    }
    char time[24];
    format_duration(time, sizeof(time), rtt_ns);
    shell_print(shell, "%s answered after %s\n", word, time);
}

static void resolve(struct shell *shell, const char *word)
{
    uint8_t name[96];
    uint32_t address;
    if (!words_field(word, (char *)name, sizeof(name) - 1)) {
        shell_print(shell, "net resolve: a name has 1 to 95 bytes\n");
        return;
    }
    name[sizeof(name) - 1] = '\0';
    status_t status = tess_net_resolve(shell->handles.net, name, &address, shell_deadline());
    if (status != OK) {
        shell_error(shell, word, status);
        return;
    }
    print_address(shell, word, address);
}

void command_net(struct shell *shell, const struct words *words)
{
    if (!shell_has(shell, shell->handles.net, "net")) {
        return;
    }
    if (words->count == 1) {
        print_info(shell);
        print_counters(shell);
    } else if (words->count == 3 && strcmp(words->word[1], "ping") == 0) {
        ping(shell, words->word[2]);
    } else if (words->count == 3 && strcmp(words->word[1], "resolve") == 0) {
        resolve(shell, words->word[2]);
    } else {
        shell_print(shell, "usage: net [ping A.B.C.D|resolve NAME]\n");
    }
}

void command_http(struct shell *shell, const struct words *)
{
    uint64_t requests, errors, accepted, refused, timeouts, bytes_out, first_byte_ns;
    uint32_t connections, peak;
    if (!shell_has(shell, shell->handles.http, "http")) {
        return;
    }
    status_t status = tess_http_counters(shell->handles.http, &requests, &errors, &connections, &peak, &accepted, &refused, &timeouts,
                                         &bytes_out, &first_byte_ns, shell_deadline());
    if (status != OK) {
        shell_error(shell, "http", status);
        return;
    }
    char bytes[24], first[24] = "not yet";
    format_size(bytes, sizeof(bytes), bytes_out);
    if (first_byte_ns != 0) {
        format_duration(first, sizeof(first), first_byte_ns);
    }
    shell_print(shell, "  requests     %llu, %llu of them refused as wrong; %s sent\n", (unsigned long long)requests,
                (unsigned long long)errors, bytes);
    shell_print(shell, "  connections  %u open, %u at most, %llu accepted, %llu refused, %llu timed out\n", connections, peak,
                (unsigned long long)accepted, (unsigned long long)refused, (unsigned long long)timeouts);
    shell_print(shell, "  first page   %s after boot\n", first);
}
