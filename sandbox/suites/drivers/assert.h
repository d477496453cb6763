/* Stands in for the C library's assert.h: an assert of the program's own ends it, whatever NDEBUG says. */
#undef assert
#ifdef __cplusplus
extern "C" void abort(void) noexcept __attribute__((noreturn));
#else
void abort(void) __attribute__((noreturn));
#define static_assert _Static_assert
#endif
#define assert(...) ((__VA_ARGS__) ? (void)0 : abort())
