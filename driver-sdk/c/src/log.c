/* Messages: printf's formats without floating point, and %pM, a MAC address. */
#include <nook/runtime.h>

struct out {
    char *text;
    size_t room_bytes, len_bytes;
};

static void put(struct out *out, char c) {
    if (out->len_bytes + 1 < out->room_bytes)
        out->text[out->len_bytes] = c;
    out->len_bytes++;
}

static void fill(struct out *out, char c, int count) {
    while (count-- > 0)
        put(out, c);
}

/* How a conversion is written. */
struct style {
    bool left, zeros, sign, prefix;
    int width, precision;
};

static void put_text(struct out *out, const struct style *style, const char *text) {
    int len = 0;
    if (!text)
        text = "(null)";
    while (text[len] && (style->precision < 0 || len < style->precision))
        len++;
    fill(out, ' ', style->left ? 0 : style->width - len);
    for (int i = 0; i < len; i++)
        put(out, text[i]);
    fill(out, ' ', style->left ? style->width - len : 0);
}

static void put_number(struct out *out, const struct style *style, uint64_t value, unsigned base, bool upper, char sign) {
    const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    char reversed[24];
    int len = 0;
    for (uint64_t rest = value; rest || len == 0; rest /= base)
        reversed[len++] = digits[rest % base];
    int before = (sign != 0) + (style->prefix && base == 16 ? 2 : 0);
    int zeros = style->precision > len ? style->precision - len : 0;
    if (style->zeros && !style->left && style->precision < 0 && style->width > len + before)
        zeros = style->width - len - before;
    int blanks = style->width - len - before - zeros;
    fill(out, ' ', style->left ? 0 : blanks);
    if (sign)
        put(out, sign);
    if (style->prefix && base == 16) {
        put(out, '0');
        put(out, upper ? 'X' : 'x');
    }
    fill(out, '0', zeros);
    while (len)
        put(out, reversed[--len]);
    fill(out, ' ', style->left ? blanks : 0);
}

/* A number in the format, or the argument that stands for it. */
static int count(const char **at, va_list *arguments) {
    if (**at == '*') {
        ++*at;
        return va_arg(*arguments, int);
    }
    int value = 0;
    while (**at >= '0' && **at <= '9' && value < 1000)
        value = value * 10 + (*(*at)++ - '0');
    return value;
}

size_t nook_format(char *text, size_t room_bytes, const char *format, va_list list) {
    struct out out = {text, room_bytes, 0};
    va_list arguments;
    va_copy(arguments, list);
    for (const char *at = format; *at; at++) {
        if (*at != '%') {
            put(&out, *at);
            continue;
        }
        struct style style = {.precision = -1};
        for (at++;; at++) {
            if (*at == '-')
                style.left = true;
            else if (*at == '0')
                style.zeros = true;
            else if (*at == '+' || *at == ' ')
                style.sign = *at == '+';
            else if (*at == '#')
                style.prefix = true;
            else
                break;
        }
        style.width = count(&at, &arguments);
        if (*at == '.') {
            at++;
            style.precision = count(&at, &arguments);
        }
        int longs = 0, shorts = 0;
        for (; *at == 'l' || *at == 'h' || *at == 'z' || *at == 't' || *at == 'j'; at++) {
            longs += *at == 'l' ? 1 : *at == 'j' ? 2 : 0;
            shorts += *at == 'h';
        }
        char kind = *at;
        if (!kind)
            break;
        if (kind == 'd' || kind == 'i') {
            int64_t value = longs > 1 ? va_arg(arguments, int64_t) : va_arg(arguments, int);
            char sign = value < 0 ? '-' : style.sign ? '+' : 0;
            put_number(&out, &style, value < 0 ? -(uint64_t)value : (uint64_t)value, 10, false, sign);
        } else if (kind == 'u' || kind == 'x' || kind == 'X' || kind == 'o') {
            uint64_t value = longs > 1 ? va_arg(arguments, uint64_t) : va_arg(arguments, unsigned);
            value &= shorts == 1 ? 0xffff : shorts > 1 ? 0xff : UINT64_MAX;
            put_number(&out, &style, value, kind == 'u' ? 10 : kind == 'o' ? 8 : 16, kind == 'X', 0);
        } else if (kind == 'p' && at[1] == 'M') {
            const uint8_t *address = va_arg(arguments, const uint8_t *);
            style = (struct style){.zeros = true, .width = 2, .precision = -1};
            for (int i = 0; i < 6; i++) {
                if (i > 0)
                    put(&out, ':');
                put_number(&out, &style, address[i], 16, false, 0);
            }
            at++;
        } else if (kind == 'p') {
            style.prefix = true;
            put_number(&out, &style, (uintptr_t)va_arg(arguments, void *), 16, false, 0);
        } else if (kind == 's') {
            put_text(&out, &style, va_arg(arguments, const char *));
        } else if (kind == 'c') {
            put(&out, (char)va_arg(arguments, int));
        } else {
            put(&out, kind);
        }
    }
    va_end(arguments);
    if (room_bytes)
        text[out.len_bytes < room_bytes ? out.len_bytes : room_bytes - 1] = 0;
    return out.len_bytes;
}

/* The C library's would ask a system for files. */
int snprintf(char *text, size_t room_bytes, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    size_t len = nook_format(text, room_bytes, format, arguments);
    va_end(arguments);
    return (int)len;
}

void nook_log_list(uint32_t level, const char *format, va_list arguments) {
    char text[NOOK_LOG_LEVEL_MAX_BYTES + 1];
    size_t len = nook_format(text, sizeof text, format, arguments);
    if (len > NOOK_LOG_LEVEL_MAX_BYTES)
        len = NOOK_LOG_LEVEL_MAX_BYTES;
    /* Each message is a line already. */
    while (len && (text[len - 1] == '\n' || text[len - 1] == ' '))
        len--;
    if (len)
        nook_log(level, (uintptr_t)text, (uint32_t)len);
}

void nook_log_format(uint32_t level, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    nook_log_list(level, format, arguments);
    va_end(arguments);
}
