/* What the tests' translation unit knows of the driver. CQ stands for a prefix that only this build has. */
#ifdef __cplusplus
extern "C" {
#endif
int CQ_group(void);
void CQ_pass(int slot);
void CQ_fail(int slot, int line, const char *type, const char *text);
void CQ_done(void);
void _exit(int) __attribute__((noreturn));
#ifdef __cplusplus
}
#endif

static inline void CQ_check(int slot, int holds, int line, const char *text) {
    if (holds) {
        CQ_pass(slot);
    } else {
        CQ_fail(slot, line, "AssertionError", text);
        _exit(1);
    }
}
