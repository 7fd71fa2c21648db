#include <ctype.h>
#include <string.h>

#include "parts.h"
#include "saediff/core/str.h"

typedef struct lexer {
    machine *m;
    const char *s; /* line ends normalised to \n */
    uint64_t at, end;
    tokens *out;
    bool line_start; /* the previous tag ended a line */
} lexer;

static sd_status add_token(lexer *l, token_kind kind, const char *bytes, uint64_t length)
{
    char *copy;
    sd_status st;

    if (l->out->count == l->out->capacity) {
        uint64_t capacity = l->out->capacity ? 2 * l->out->capacity : 256;
        token *grown;

        SD_TRY(st, CHAT_NEW(&l->m->memory, &grown, capacity));
        if (l->out->count > 0)
            memcpy(grown, l->out->at, l->out->count * sizeof *grown);
        l->out->at = grown;
        l->out->capacity = capacity;
    }
    SD_TRY(st, CHAT_NEW(&l->m->memory, &copy, length + 1));
    if (length > 0)
        memcpy(copy, bytes, length);
    l->out->at[l->out->count++] = (token){kind, l->m->line, copy, length};
out:
    return st;
}

static void go_on(lexer *l, uint64_t count)
{
    for (; count > 0 && l->at < l->end; count--)
        l->m->line += l->s[l->at++] == '\n';
}

static bool here(const lexer *l, const char *words)
{
    size_t length = strlen(words);

    return l->end - l->at >= length && memcmp(l->s + l->at, words, length) == 0;
}

static uint64_t space_at(const lexer *l)
{
    uint64_t length;

    return l->at < l->end && chat_space(chat_code_point(l->s + l->at, &length)) ? length : 0;
}

static void skip_space(lexer *l)
{
    for (uint64_t length; (length = space_at(l)) > 0;)
        go_on(l, length);
}

/* After the end of a tag, `length` bytes from here: strips white space as the tag says, and notes whether a line begins. */
static void end_tag(lexer *l, uint64_t length, bool dash, bool trim)
{
    go_on(l, length);
    if (dash)
        skip_space(l);
    else if (trim && here(l, "\n"))
        go_on(l, 1);
    l->line_start = l->at > 0 && l->s[l->at - 1] == '\n';
}

/* Text up to the next tag, without what that tag strips. */
static sd_status lex_data(lexer *l)
{
    uint64_t first = l->at, stop = first, end, line;
    str data;
    sd_status st = SD_OK;

    while (stop < l->end && !(l->s[stop] == '{' && stop + 1 < l->end && strchr("{%#", l->s[stop + 1]) != NULL))
        stop++;
    data = (str){l->s + first, NULL, stop - first};
    end = data.length;
    if (stop < l->end) {
        char sign = stop + 2 < l->end ? l->s[stop + 2] : ' ';

        if (sign == '-') {
            uint64_t zero;

            chat_strip(&data, NULL, false, true, &zero, &end);
        } else if (sign != '+' && l->s[stop + 1] != '{') {
            str rest;
            uint64_t left, right;

            for (line = data.length; line > 0 && data.bytes[line - 1] != '\n'; line--)
                ;
            rest = (str){data.bytes + line, NULL, data.length - line};
            chat_strip(&rest, NULL, true, false, &left, &right);
            if ((line > 0 || l->line_start) && left == rest.length)
                end = line;
        }
    }
    if (end > 0)
        SD_TRY(st, add_token(l, T_DATA, data.bytes, end));
    go_on(l, stop - first);
out:
    return st;
}

static sd_status lex_comment(lexer *l)
{
    go_on(l, 2);
    while (l->at < l->end && !here(l, "#}"))
        go_on(l, 1);
    if (l->at == l->end)
        return CHAT_FAIL(l->m, "the comment that begins with {# has no closing #}");
    end_tag(l, 2, l->s[l->at - 1] == '-', l->s[l->at - 1] != '+');
    return SD_OK;
}

static int hex_digits(const char *s, uint64_t left, int count, uint32_t *point)
{
    *point = 0;
    for (int i = 0; i < count; i++) {
        if ((uint64_t)i >= left || !isxdigit((unsigned char)s[i]))
            return 0;
        *point = *point * 16 + (uint32_t)(isdigit((unsigned char)s[i]) ? s[i] - '0' : tolower((unsigned char)s[i]) - 'a' + 10);
    }
    return count;
}

static uint64_t spell(uint32_t p, char *out)
{
    if (p < 0x80) {
        out[0] = (char)p;
        return 1;
    }
    if (p < 0x800) {
        out[0] = (char)(0xC0 | p >> 6);
        out[1] = (char)(0x80 | (p & 0x3F));
        return 2;
    }
    if (p < 0x10000) {
        out[0] = (char)(0xE0 | p >> 12);
        out[1] = (char)(0x80 | (p >> 6 & 0x3F));
        out[2] = (char)(0x80 | (p & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | p >> 18);
    out[1] = (char)(0x80 | (p >> 12 & 0x3F));
    out[2] = (char)(0x80 | (p >> 6 & 0x3F));
    out[3] = (char)(0x80 | (p & 0x3F));
    return 4;
}

/* One Python escape, after the backslash; *used bytes of it. An unknown escape is kept as it is. */
static sd_status lex_escape(lexer *l, const char *s, uint64_t left, char *out, uint64_t *made, uint64_t *used)
{
    static const char from[] = "ntrabfv\\'\"", to[] = "\n\t\r\a\b\f\v\\'\"";
    const char *plain = s[0] != '\0' ? strchr(from, s[0]) : NULL;
    int digits = s[0] == 'x' ? 2 : s[0] == 'u' ? 4 : s[0] == 'U' ? 8 : 0;
    uint32_t point = 0;

    *used = 1;
    if (plain != NULL) {
        out[0] = to[plain - from];
        *made = 1;
    } else if (s[0] == '\n') {
        *made = 0;
    } else if (digits > 0 || (s[0] >= '0' && s[0] <= '7')) {
        if (digits > 0)
            *used += (uint64_t)hex_digits(s + 1, left - 1, digits, &point);
        else
            for (*used = 0; *used < 3 && *used < left && s[*used] >= '0' && s[*used] <= '7'; ++*used)
                point = point * 8 + (uint32_t)(s[*used] - '0');
        if ((digits > 0 && *used == 1) || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000) || point == 0)
            return CHAT_FAIL(l->m, "the escape '\\%.*s' is not a character", (int)(left < 9 ? left : 9), s);
        *made = spell(point, out);
    } else if (s[0] == 'N') {
        return CHAT_FAIL(l->m, "'\\N' in a string is not supported");
    } else {
        out[0] = '\\';
        out[1] = s[0];
        *made = 2;
    }
    return SD_OK;
}

static sd_status lex_string(lexer *l)
{
    char quote = l->s[l->at];
    uint64_t stop = l->at + 1, length = 0;
    char *out;
    sd_status st;

    while (stop < l->end && l->s[stop] != quote)
        stop += l->s[stop] == '\\' ? 2 : 1;
    if (stop >= l->end)
        return CHAT_FAIL(l->m, "the string that begins with %c is not closed", quote);
    SD_TRY(st, CHAT_NEW(&l->m->memory, &out, stop - l->at + 8));
    for (uint64_t i = l->at + 1; i < stop; i++) {
        uint64_t made = 1, used = 0;

        if (l->s[i] == '\\')
            SD_TRY(st, lex_escape(l, l->s + i + 1, stop - i - 1, out + length, &made, &used));
        else
            out[length] = l->s[i];
        length += made;
        i += used;
    }
    SD_TRY(st, add_token(l, T_STRING, out, length));
    go_on(l, stop + 1 - l->at);
out:
    return st;
}

static uint64_t digits_at(const lexer *l, uint64_t at)
{
    uint64_t n = 0;

    while (at + n < l->end && (isdigit((unsigned char)l->s[at + n]) ||
                               (n > 0 && l->s[at + n] == '_' && at + n + 1 < l->end && isdigit((unsigned char)l->s[at + n + 1]))))
        n++;
    return n;
}

static sd_status lex_number(lexer *l)
{
    uint64_t n = digits_at(l, l->at), more, sign;
    char plain[64];
    uint64_t length = 0;
    bool real = false;
    sd_status st;

    if (l->at + n < l->end && l->s[l->at + n] == '.' && (more = digits_at(l, l->at + n + 1)) > 0) {
        n += 1 + more;
        real = true;
    }
    if (l->at + n < l->end && (l->s[l->at + n] == 'e' || l->s[l->at + n] == 'E')) {
        sign = l->at + n + 1 < l->end && strchr("+-", l->s[l->at + n + 1]) != NULL;
        if ((more = digits_at(l, l->at + n + 1 + sign)) > 0) {
            n += 1 + sign + more;
            real = true;
        }
    }
    if (n >= sizeof plain || (l->at + n < l->end && (isalpha((unsigned char)l->s[l->at + n]) || l->s[l->at + n] == '_')))
        return CHAT_FAIL(l->m, "the number '%.*s' is not supported", (int)(n < 40 ? n + 1 : 40), l->s + l->at);
    for (uint64_t i = 0; i < n; i++)
        if (l->s[l->at + i] != '_')
            plain[length++] = l->s[l->at + i];
    SD_TRY(st, add_token(l, real ? T_FLOAT : T_INT, plain, length));
    go_on(l, n);
out:
    return st;
}

static sd_status lex_operator(lexer *l, unsigned *open)
{
    static const char *const two[] = {"==", "!=", "<=", ">=", "//", "**"};
    uint64_t length = 1;
    unsigned char c = (unsigned char)l->s[l->at];
    sd_status st;

    for (size_t i = 0; i < sizeof two / sizeof *two; i++)
        if (here(l, two[i]))
            length = 2;
    if (length == 1 && (c == '\0' || strchr("+-*/%~<>=()[]{},.:|", c) == NULL))
        return c >= 0x20 && c < 0x7F ? CHAT_FAIL(l->m, "'%c' is not supported", c) : CHAT_FAIL(l->m, "byte 0x%02x is not supported", c);
    *open += strchr("([{", c) != NULL;
    if (strchr(")]}", c) != NULL && *open > 0)
        --*open;
    SD_TRY(st, add_token(l, T_OP, l->s + l->at, length));
    go_on(l, length);
out:
    return st;
}

/* Tokens from {{ or {% to its end. */
static sd_status lex_tag(lexer *l)
{
    bool block = l->s[l->at + 1] == '%';
    const char *end = block ? "%}" : "}}";
    uint32_t began = l->m->line;
    unsigned open = 0;
    sd_status st;

    SD_TRY(st, add_token(l, block ? T_BLOCK : T_PRINT, l->s + l->at, 2));
    go_on(l, 2);
    if (here(l, "-") || here(l, "+"))
        go_on(l, 1);
    for (;;) {
        bool dash, plus;

        skip_space(l);
        if (l->at == l->end) {
            l->m->line = began;
            return CHAT_FAIL(l->m, "the tag that begins with %s has no closing %s", block ? "{%" : "{{", end);
        }
        dash = here(l, "-") && l->end - l->at > 2 && memcmp(l->s + l->at + 1, end, 2) == 0;
        plus = block && here(l, "+") && l->end - l->at > 2 && memcmp(l->s + l->at + 1, end, 2) == 0;
        if (open == 0 && (dash || plus || here(l, end))) {
            SD_TRY(st, add_token(l, block ? T_BLOCK_END : T_PRINT_END, end, 2));
            end_tag(l, dash || plus ? 3 : 2, dash, block && !plus);
            return SD_OK;
        }
        if (isalpha((unsigned char)l->s[l->at]) || l->s[l->at] == '_') {
            uint64_t n = 1;

            while (l->at + n < l->end && (isalnum((unsigned char)l->s[l->at + n]) || l->s[l->at + n] == '_'))
                n++;
            SD_TRY(st, add_token(l, T_NAME, l->s + l->at, n));
            go_on(l, n);
        } else if (isdigit((unsigned char)l->s[l->at])) {
            SD_TRY(st, lex_number(l));
        } else if (l->s[l->at] == '"' || l->s[l->at] == '\'') {
            SD_TRY(st, lex_string(l));
        } else {
            SD_TRY(st, lex_operator(l, &open));
        }
    }
out:
    return st;
}

/* Normalises line ends to \n and drops one at the very end of the template. */
static sd_status read_lines(machine *m, const char *source, uint64_t length, lexer *l)
{
    char *copy;
    size_t bad;
    sd_status st;

    if (!sd_utf8_valid(source, length, &bad))
        return CHAT_FAIL(m, "not UTF-8: byte 0x%02x at offset %zu", (unsigned)(uint8_t)source[bad], bad);
    SD_TRY(st, CHAT_NEW(&m->memory, &copy, length + 1));
    for (uint64_t i = 0; i < length; i++) {
        if (source[i] == '\r' && i + 1 < length && source[i + 1] == '\n')
            continue;
        copy[l->end++] = source[i] == '\r' ? '\n' : source[i];
    }
    if (l->end > 0 && copy[l->end - 1] == '\n')
        l->end--;
    l->s = copy;
out:
    return st;
}

sd_status chat_lex(machine *m, const char *source, uint64_t length, tokens *out)
{
    lexer l = {.m = m, .out = out, .line_start = true};
    sd_status st;

    m->line = 1;
    SD_TRY(st, read_lines(m, source, length, &l));
    while (l.at < l.end) {
        SD_TRY(st, lex_data(&l));
        if (l.at == l.end)
            break;
        SD_TRY(st, l.s[l.at + 1] == '#' ? lex_comment(&l) : lex_tag(&l));
    }
    st = add_token(&l, T_END, "", 0);
out:
    return st;
}
