/* Comparison of two values in a C++ test, with both sides in the message.
 *
 * A class of the program's own that is compared with a number, a string or a container may equal anything, so that
 * proves nothing: it fails. CQ stands for a prefix that only this build has.
 */
#include <cstdio>
#include <string>
#include <type_traits>
#include <typeinfo>

namespace CQ_equality {

/* Tells from a type's mangled name whether every class in it is one of the standard library's. */
inline bool is_standard(const char *name) {
    bool standard = false; /* the next identifier belongs to std */
    while (*name) {
        if (name[0] == 'S' && name[1] == 't') {
            standard = true, name += 2;
        } else if (*name == 'S') {
            for (name++; *name && *name != '_' && !(*name >= 'a' && *name <= 'z'); name++) {}
            if (*name) name++;
            standard = true;
        } else if (*name == 'L') {
            while (*name && *name != 'E') name++;
        } else if (*name == 'A') {
            while (*name && *name != '_') name++;
        } else if (*name >= '0' && *name <= '9') {
            int size = 0;
            while (*name >= '0' && *name <= '9') size = size * 10 + (*name++ - '0');
            if (!standard && !(size > 4 && std::string(name, 5) == "__gnu")) return false;
            name += size;
            standard = *name >= '0' && *name <= '9'; /* an inner name, as in std::__cxx11::basic_string */
        } else {
            standard = false, name++;
        }
    }
    return true;
}

template <class T, class = void> struct shown { static std::string text(const T &) { return "a value"; } };
template <class T> struct shown<T, std::enable_if_t<std::is_arithmetic<T>::value>> {
    static std::string text(const T &value) {
        if (std::is_same<T, bool>::value) return value ? "true" : "false";
        char text[48];
        std::snprintf(text, sizeof text, "%.10g", static_cast<double>(value));
        return text;
    }
};
template <> struct shown<std::string, void> { static std::string text(const std::string &v) { return '"' + v + '"'; } };

template <class A, class B> void check(int slot, int line, const char *text, A &&left, B &&right) {
    const bool ours[2] = {is_standard(typeid(left).name()), is_standard(typeid(right).name())};
    if (ours[0] != ours[1]) {
        CQ_check(slot, 0, line, (std::string(text) + ": a type of the program's is compared with another, which proves nothing").c_str());
    } else if (left == right) {
        CQ_pass(slot);
    } else {
        using L = std::decay_t<A>;
        using R = std::decay_t<B>;
        const std::string sides = ": left is " + shown<L>::text(left) + ", right is " + shown<R>::text(right);
        CQ_check(slot, 0, line, (text + sides).c_str());
    }
}

inline bool truth(bool value) { return value; }

} // namespace CQ_equality
