/* Character classes. Three libraries inside the reference library use three versions of Unicode, and so does this file: the regex engine
 * (16.0), Rust's own (17.0) and an old table of punctuation (8.0). Oniguruma and utf8proc here may be older than 16.0, so additions since
 * 14.0 are listed; with a newer library the lists are redundant. */
#include <pthread.h>
#include <string.h>
#include <utf8proc.h>

#include "parts.h"

typedef struct range {
    uint32_t first, last;
} range;

/* Letters of Unicode 15.0 to 16.0. */
static const range newer_letters[] = {
    {0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},   {0x105C0, 0x105F3}, {0x10D4A, 0x10D65}, {0x10D6F, 0x10D85},
    {0x10EC2, 0x10EC4}, {0x1123F, 0x11240}, {0x11380, 0x11389}, {0x1138B, 0x1138B}, {0x1138E, 0x1138E}, {0x11390, 0x113B5},
    {0x113B7, 0x113B7}, {0x113D1, 0x113D1}, {0x113D3, 0x113D3}, {0x11BC0, 0x11BE0}, {0x11F02, 0x11F02}, {0x11F04, 0x11F10},
    {0x11F12, 0x11F33}, {0x1342F, 0x1342F}, {0x13441, 0x13446}, {0x13460, 0x143FA}, {0x16100, 0x1611D}, {0x16D40, 0x16D6C},
    {0x18CFF, 0x18CFF}, {0x1B132, 0x1B132}, {0x1B155, 0x1B155}, {0x1DF25, 0x1DF2A}, {0x1E030, 0x1E06D}, {0x1E4D0, 0x1E4EB},
    {0x1E5D0, 0x1E5ED}, {0x1E5F0, 0x1E5F0}, {0x2B739, 0x2B739}, {0x2EBF0, 0x2EE5D}, {0x31350, 0x323AF}};
/* Numbers of 15.0 to 16.0. */
static const range newer_numbers[] = {{0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9}, {0x11F50, 0x11F59},
                                      {0x16130, 0x16139}, {0x16D70, 0x16D79}, {0x1CCF0, 0x1CCF9}, {0x1D2C0, 0x1D2D3},
                                      {0x1E4F0, 0x1E4F9}, {0x1E5F1, 0x1E5FA}};
/* Numbers of 17.0. */
static const range newest_numbers[] = {{0x11DE0, 0x11DE9}, {0x16FF4, 0x16FF6}};
/* Word characters since 15.0 other than letters and numbers: marks. */
static const range newer_marks[] = {{0x897, 0x897},     {0x10D69, 0x10D6D}, {0x10EFC, 0x10EFC}, {0x113B8, 0x113C0},
                                    {0x113C2, 0x113C2}, {0x113C5, 0x113C5}, {0x113C7, 0x113CA}, {0x113CC, 0x113D0},
                                    {0x113D2, 0x113D2}, {0x113E1, 0x113E2}, {0x11F5A, 0x11F5A}, {0x1611E, 0x1612F},
                                    {0x1E5EE, 0x1E5EF}};
/* Punctuation newer than 8.0, or not punctuation then. */
static const range newer_punctuation[] = {
    {0x61D, 0x61D},     {0x9FD, 0x9FD},     {0xA76, 0xA76},     {0xC77, 0xC77},     {0xC84, 0xC84},     {0x1B4E, 0x1B4F},
    {0x1B7D, 0x1B7F},   {0x2E43, 0x2E7F},   {0x10D6E, 0x10D6E}, {0x10EAD, 0x10EAD}, {0x10ED0, 0x10ED0}, {0x10F55, 0x10F59},
    {0x10F86, 0x10F89}, {0x113D4, 0x113D8}, {0x1144B, 0x1144F}, {0x1145A, 0x1145B}, {0x1145D, 0x1145D}, {0x11660, 0x1166C},
    {0x116B9, 0x116B9}, {0x1183B, 0x1183B}, {0x11944, 0x11946}, {0x119E2, 0x119E2}, {0x11A3F, 0x11A46}, {0x11A9A, 0x11A9C},
    {0x11A9E, 0x11AA2}, {0x11B00, 0x11B09}, {0x11BE1, 0x11BE1}, {0x11C41, 0x11C45}, {0x11C70, 0x11C71}, {0x11EF7, 0x11EF8},
    {0x11F43, 0x11F4F}, {0x11FFF, 0x11FFF}, {0x12FF1, 0x12FF2}, {0x16D6D, 0x16D6F}, {0x16E97, 0x16E9A}, {0x16FE2, 0x16FE2},
    {0x1E5FF, 0x1E5FF}, {0x1E95E, 0x1E95F}};
/* Letters that are symbols in utf8proc: circled and squared ones. */
static const range symbol_letters[] = {{0x24B6, 0x24E9}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}};

#define IN(table, point) is_in(table, sizeof(table) / sizeof *(table), point)

static bool is_in(const range *table, size_t count, uint32_t point)
{
    for (size_t low = 0, high = count; low < high;) {
        size_t middle = (low + high) / 2;

        if (point < table[middle].first)
            high = middle;
        else if (point > table[middle].last)
            low = middle + 1;
        else
            return true;
    }
    return false;
}

uint32_t tok_code_point(const char *bytes, uint64_t *length)
{
    const uint8_t *b = (const uint8_t *)bytes;

    if (b[0] < 0x80) {
        *length = 1;
        return b[0];
    }
    if (b[0] < 0xE0) {
        *length = 2;
        return (uint32_t)(b[0] & 0x1F) << 6 | (b[1] & 0x3F);
    }
    if (b[0] < 0xF0) {
        *length = 3;
        return (uint32_t)(b[0] & 0x0F) << 12 | (uint32_t)(b[1] & 0x3F) << 6 | (b[2] & 0x3F);
    }
    *length = 4;
    return (uint32_t)(b[0] & 0x07) << 18 | (uint32_t)(b[1] & 0x3F) << 12 | (uint32_t)(b[2] & 0x3F) << 6 | (b[3] & 0x3F);
}

uint64_t tok_write_utf8(uint32_t point, char bytes[4])
{
    return (uint64_t)utf8proc_encode_char((utf8proc_int32_t)point, (utf8proc_uint8_t *)bytes);
}

/* ---- classes of the regex engine */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static OnigCtype letter_type, number_type, space_type;
static uint8_t near_class[TOK_DIRECT];

static OnigCtype type_of(const char *name)
{
    return (OnigCtype)ONIGENC_PROPERTY_NAME_TO_CTYPE(ONIG_ENCODING_UTF8, (OnigUChar *)(uintptr_t)name,
                                                     (OnigUChar *)(uintptr_t)(name + strlen(name)));
}

static int ask_class(uint32_t point)
{
    if (ONIGENC_IS_CODE_CTYPE(ONIG_ENCODING_UTF8, point, letter_type) || IN(newer_letters, point))
        return TOK_LETTER;
    if (ONIGENC_IS_CODE_CTYPE(ONIG_ENCODING_UTF8, point, number_type) || IN(newer_numbers, point))
        return TOK_NUMBER;
    return ONIGENC_IS_CODE_CTYPE(ONIG_ENCODING_UTF8, point, space_type) ? TOK_SPACE : TOK_OTHER;
}

static void prepare(void)
{
    OnigEncoding encoding = ONIG_ENCODING_UTF8;

    onig_initialize(&encoding, 1);
    letter_type = type_of("L");
    number_type = type_of("N");
    space_type = type_of("White_Space");
    for (uint32_t point = 0; point < TOK_DIRECT; point++)
        near_class[point] = (uint8_t)ask_class(point);
}

int tok_class(uint32_t point)
{
    pthread_once(&once, prepare);
    return point < TOK_DIRECT ? near_class[point] : ask_class(point);
}

/* ---- the others */

bool tok_is_numeric(uint32_t point)
{
    return tok_class(point) == TOK_NUMBER || IN(newest_numbers, point);
}

bool tok_is_space(uint32_t point)
{
    return tok_class(point) == TOK_SPACE;
}

bool tok_is_punctuation(uint32_t point)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)point);

    if (point < 0x80)
        return point > 0x20 && point < 0x7F && tok_class(point) == TOK_OTHER;
    if (point == 0x166D || point == 0x111C9)
        return true;
    return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO && !IN(newer_punctuation, point);
}

bool tok_is_word(uint32_t point)
{
    switch (utf8proc_category((utf8proc_int32_t)point)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        /* Of the numbers since 15.0 only 1D2C0 … 1D2D3 are not digits. */
        return tok_class(point) == TOK_LETTER || point == 0x200C || point == 0x200D || IN(symbol_letters, point) ||
               IN(newer_marks, point) || (IN(newer_numbers, point) && (point < 0x1D2C0 || point > 0x1D2D3));
    }
}

/* ---- bytes as characters: printable Latin-1 represents itself, the others are mapped from 256 on */

static bool is_printable_byte(uint32_t byte)
{
    return (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte < 0x100 && byte != 0xAD);
}

uint32_t tok_byte_point(uint8_t byte)
{
    if (is_printable_byte(byte))
        return byte;
    if (byte <= 0x20)
        return 256U + byte;
    return byte == 0xAD ? 256 + 67 : 256U + 33 + (byte - 0x7FU);
}

int tok_point_byte(uint32_t point)
{
    if (point < 256)
        return is_printable_byte(point) ? (int)point : -1;
    if (point <= 256 + 0x20)
        return (int)point - 256;
    if (point < 256 + 67)
        return (int)point - 256 - 33 + 0x7F;
    return point == 256 + 67 ? 0xAD : -1;
}
