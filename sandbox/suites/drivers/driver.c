/* Runs the tests of a C or C++ program and reports them on descriptor 3.
 *
 * `supervise` starts before any constructor of the program. It forks one process per group of checks and never runs
 * the program's code itself: the nonce that signs reports stays with it. The children hold a token of their own that
 * signs what they tell the supervisor. No function of the C library is called here, so none can be replaced.
 * CQ stands for a prefix that only this build has.
 */
#include "table.h"

typedef unsigned long word;
enum { NONCE_CHARS = 32, TOKEN_WORDS = 4, TEXT_BYTES = 1500, LINE_BYTES = 8192 };
enum { PASSED = 1, FAILED = 2, DONE = 3 };

struct report {
    word token[TOKEN_WORDS];
    int kind, slot, line, padding;
    char type[64];
    char text[TEXT_BYTES];
};

#if defined(__x86_64__)
enum { READ = 0, WRITE = 1, CLOSE = 3, FORK = 57, EXIT = 231, WAIT = 61, KILL = 62, PIPE = 293, RANDOM = 318 };
static long call(long number, long a, long b, long c, long d) {
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return result;
}
static long fork_here(void) { return call(FORK, 0, 0, 0, 0); }
#elif defined(__aarch64__)
enum { READ = 63, WRITE = 64, CLOSE = 57, EXIT = 94, WAIT = 260, KILL = 129, PIPE = 59, RANDOM = 278, CLONE = 220 };
static long call(long number, long a, long b, long c, long d) {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = 0;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
    return x0;
}
static long fork_here(void) { return call(CLONE, 17, 0, 0, 0); }
#else
#error "tests of C and C++ need an x86_64 or aarch64 processor"
#endif

static char nonce[NONCE_CHARS + 1]; /* emptied in every child */
static struct report outgoing;      /* its token is this child's; zero in the supervisor */
static int to_supervisor = -1, group = -1, group_failed;
static struct report seen[N_SLOTS + 1];

static void leave(int status) {
    for (;;) call(EXIT, status, 0, 0, 0);
}

static char line[LINE_BYTES];
static int used;

static void put(const char *text) {
    while (*text && used < LINE_BYTES - 8) line[used++] = *text++;
}

static void put_quoted(const char *text, int limit) {
    static const char digits[] = "0123456789abcdef";
    put("\"");
    for (; *text && limit > 0; text++, limit--) {
        unsigned char c = (unsigned char)*text;
        char escaped[] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15], 0};
        char plain[] = {(char)c, 0};
        put(c < 32 || c > 126 || c == '"' || c == '\\' ? escaped : plain);
    }
    put("\"");
}

static void put_number(int value) {
    char digits[16];
    int at = 15;
    digits[at] = 0;
    do digits[--at] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    put(digits + at);
}

static void send_all(int fd, const char *bytes, long size) {
    while (size > 0) {
        long written = call(WRITE, fd, (long)bytes, size, 0);
        if (written <= 0) leave(125);
        bytes += written, size -= written;
    }
}

static void begin(const char *event) {
    used = 0;
    put("{\"nonce\":\"");
    put(nonce);
    put("\",\"event\":");
    put_quoted(event, 32);
}

static void end(void) {
    put("}\n");
    send_all(3, line, used);
}

static void tell_slot(int slot, const char *type, const char *text, int at_line) {
    begin("test");
    put(",\"id\":");
    put_quoted(ids[slot], 400);
    if (type == 0) {
        put(",\"outcome\":\"passed\"");
    } else {
        put(",\"outcome\":\"failed\",\"type\":");
        put_quoted(type, 64);
        put(",\"message\":");
        put_quoted(text, TEXT_BYTES);
        if (at_line > 0) {
            put(",\"line\":");
            put_number(at_line);
        }
    }
    end();
}

/* What a child calls; the names are only known to the tests' translation unit. */

static void report(int kind, int slot, int at_line, const char *type, const char *text) {
    int i;
    outgoing.kind = kind, outgoing.slot = slot, outgoing.line = at_line;
    for (i = 0; i < 63 && type[i]; i++) outgoing.type[i] = type[i];
    outgoing.type[i] = 0;
    for (i = 0; i < TEXT_BYTES - 1 && text[i]; i++) outgoing.text[i] = text[i];
    outgoing.text[i] = 0;
    send_all(to_supervisor, (const char *)&outgoing, sizeof outgoing);
}

int CQ_group(void) { return group; }
void CQ_pass(int slot) { if (slot >= 0) report(PASSED, slot, 0, "", ""); }
void CQ_fail(int slot, int at_line, const char *type, const char *text) { report(FAILED, slot, at_line, type, text); }
void CQ_done(void) { report(DONE, -1, 0, "", ""); }

/* The supervisor. */

static const char *signal_name(int number) {
    switch (number) {
    case 4: return "SIGILL";
    case 5: return "SIGTRAP";
    case 6: return "SIGABRT";
    case 7: return "SIGBUS";
    case 8: return "SIGFPE";
    case 9: return "SIGKILL";
    case 11: return "SIGSEGV";
    case 15: return "SIGTERM";
    case 31: return "SIGSYS";
    default: return "Signal";
    }
}

static int same(const word *a, const word *b) {
    for (int i = 0; i < TOKEN_WORDS; i++)
        if (a[i] != b[i]) return 0;
    return 1;
}

/* Reads a child's reports to the end; returns whether it said that it was done, -1 if an assert failed. */
static int listen(int fd, const word *token) {
    static struct report got;
    int done = 0;
    for (;;) {
        long size = 0;
        while (size < (long)sizeof got) {
            long n = call(READ, fd, (long)((char *)&got + size), (long)sizeof got - size, 0);
            if (n == -4) continue;
            if (n <= 0) return done;
            size += n;
        }
        if (!same(got.token, token)) continue;
        if (got.kind == DONE) {
            done = 1;
            return done;
        }
        int slot = got.slot >= 0 ? got.slot : N_SLOTS;
        if (slot < N_SLOTS && groups[slot] != group) continue;
        if (slot <= N_SLOTS && seen[slot].kind == 0) {
            seen[slot].kind = got.kind, seen[slot].line = got.line;
            for (int i = 0; i < 64; i++) seen[slot].type[i] = got.type[i];
            for (int i = 0; i < TEXT_BYTES; i++) seen[slot].text[i] = got.text[i];
        }
        if (got.kind == FAILED) return got.line > 0 ? -1 : 0;
    }
}

static int conclude(int done, int status) {
    int bad = 0, explained = 0, last = -1;
    const struct report *elsewhere = &seen[N_SLOTS];
    int ended_badly = !done || status != 0;
    for (int slot = 0; slot < N_SLOTS; slot++) {
        if (groups[slot] == group) last = slot;
        if (groups[slot] == group && seen[slot].kind == FAILED) ended_badly = 0;
    }
    for (int slot = 0; slot < N_SLOTS; slot++) {
        if (groups[slot] != group) continue;
        if (seen[slot].kind == PASSED && !(slot == last && ended_badly)) {
            tell_slot(slot, 0, "", 0);
            continue;
        }
        bad = 1;
        if (seen[slot].kind == FAILED) {
            tell_slot(slot, seen[slot].type, seen[slot].text, seen[slot].line);
            explained = 1;
        } else if (explained) {
            tell_slot(slot, "NotReached", "not reached: a check before it failed", 0);
        } else if (elsewhere->kind == FAILED) {
            tell_slot(slot, elsewhere->type, elsewhere->text, elsewhere->line);
            explained = 1;
        } else if ((status & 127) != 0) {
            tell_slot(slot, signal_name(status & 127), "the program was ended by a signal in this test", 0);
            explained = 1;
        } else if (done && (status >> 8) != 0) {
            tell_slot(slot, "ExitStatus", "every check held, but the tests then ended with a status other than 0", 0);
            explained = 1;
        } else {
            tell_slot(slot, "ProgramEnded", "the program exited in this test, so it did not finish", 0);
            explained = 1;
        }
    }
    return bad;
}

static int supervise_group(void) {
    int fds[2], status = 0, done;
    static word token[TOKEN_WORDS];
    if (call(PIPE, (long)fds, 0, 0, 0) != 0 || call(RANDOM, (long)token, sizeof token, 0, 0) != sizeof token) leave(125);
    seen[N_SLOTS].kind = 0;
    long child = fork_here();
    if (child < 0) leave(125);
    if (child == 0) {
        for (int i = 0; i < NONCE_CHARS; i++) ((volatile char *)nonce)[i] = 0;
        for (int i = 0; i < LINE_BYTES; i++) ((volatile char *)line)[i] = 0;
        for (int i = 0; i < TOKEN_WORDS; i++) outgoing.token[i] = token[i], ((volatile word *)token)[i] = 0;
        call(CLOSE, 3, 0, 0, 0);
        call(CLOSE, fds[0], 0, 0, 0);
        to_supervisor = fds[1];
        return 1;
    }
    call(CLOSE, fds[1], 0, 0, 0);
    done = listen(fds[0], token);
    if (done < 0) { /* it ends itself now, unless the program has an _exit of its own */
        call(KILL, child, 9, 0, 0);
        done = 0;
    }
    for (;;) {
        long pid = call(WAIT, child, (long)&status, 0, 0);
        if (pid == child || pid == -10) break;
    }
    call(CLOSE, fds[0], 0, 0, 0);
    group_failed |= conclude(done, status);
    return 0;
}

static void supervise(int n_arguments, char **arguments, char **environment) {
    long size = 0;
    (void)n_arguments, (void)arguments, (void)environment;
    while (size < NONCE_CHARS + 1) {
        long n = call(READ, 3, (long)(nonce + size), NONCE_CHARS + 1 - size, 0);
        if (n <= 0) leave(125);
        size += n;
    }
    nonce[NONCE_CHARS] = 0; /* was the newline */
    for (group = 0; group < N_GROUPS; group++)
        if (supervise_group()) return; /* the child goes on to the constructors and to main */
    begin("end");
    end();
    leave(group_failed);
}

__attribute__((section(".preinit_array"), used)) static void (*const first)(int, char **, char **) = supervise;
