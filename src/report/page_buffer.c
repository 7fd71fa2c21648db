#include "page_buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "pages.h"

static const struct {
    const char *open, *close;           /* Markdown */
    const char *tag, *inside, *ending;  /* HTML: the tag with its attributes, what follows it, what closes it */
} blocks[REP_BLOCKS] = {
    [REP_H1] = {"# ", "\n\n", "h1", "", "</h1>\n"},
    [REP_H2] = {"## ", "\n\n", "h2", "", "</h2>\n"},
    [REP_H3] = {"### ", "\n\n", "h3", "", "</h3>\n"},
    [REP_P] = {"", "\n\n", "p", "", "</p>\n"},
    [REP_LIST] = {"", "\n", "ul", "\n", "</ul>\n"},
    [REP_ITEM] = {"- ", "\n", "li", "", "</li>\n"},
    [REP_WARNING] = {"> ", "\n\n", "p class=\"warning\"", "", "</p>\n"},
    [REP_STRONG] = {"**", "**", "strong", "", "</strong>"},
};

void rep_html(sd_str *s, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '<')
            sd_str_add(s, "&lt;");
        else if (*text == '>')
            sd_str_add(s, "&gt;");
        else if (*text == '&')
            sd_str_add(s, "&amp;");
        else if (*text == '"')
            sd_str_add(s, "&quot;");
        else
            sd_str_add_bytes(s, (unsigned char)*text < ' ' ? " " : text, 1);
    }
}

void rep_open(rep_buffer *page, rep_block block, const char *id)
{
    if (!page->html)
        sd_str_add(page->s, "%s", blocks[block].open);
    else if (id == NULL)
        sd_str_add(page->s, "<%s>%s", blocks[block].tag, blocks[block].inside);
    else
        sd_str_add(page->s, "<%s id=\"%s\">%s", blocks[block].tag, id, blocks[block].inside);
}

void rep_close(rep_buffer *page, rep_block block)
{
    sd_str_add(page->s, "%s", page->html ? blocks[block].ending : blocks[block].close);
}

/* HTML of words with `code` in them. */
static void add_words(sd_str *s, const char *words)
{
    bool code = false;

    for (const char *at = words; *at != '\0'; at++) {
        char one[2] = {*at, '\0'};

        if (*at == '`') {
            sd_str_add(s, code ? "</code>" : "<code>");
            code = !code;
        } else {
            rep_html(s, one);
        }
    }
}

static void say(rep_buffer *page, const char *format, va_list args) SD_PRINTF(2, 0);

static void say(rep_buffer *page, const char *format, va_list args)
{
    char words[2048];

    if (vsnprintf(words, sizeof words, format, args) >= (int)sizeof words) {
        if (page->s->status == SD_OK)
            page->s->status = SD_FAIL(SD_E_INTERNAL, "a sentence of the report is longer than %zu bytes: %.60s…",
                                       sizeof words, words);
        return;
    }
    if (page->html) {
        add_words(page->s, words);
        return;
    }
    sd_str_add(page->s, "%s", "");
    for (const char *at = words; *at != '\0'; at++) {
        if (*at == '|' && page->in_cell)
            sd_str_add(page->s, "\\");
        sd_str_add_bytes(page->s, at, 1);
    }
}

void rep_say(rep_buffer *page, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(page, format, args);
    va_end(args);
}

void rep_text(rep_buffer *page, const char *text)
{
    if (page->html)
        rep_html(page->s, text);
    else
        rep_markdown(page->s, text);
}

void rep_code(rep_buffer *page, const char *text)
{
    if (page->html) {
        sd_str_add(page->s, "<code>");
        rep_html(page->s, text);
        sd_str_add(page->s, "</code>");
    } else {
        sd_str_add(page->s, "`%s`", text);
    }
}

static void add_number(rep_buffer *page, double value, const char *text)
{
    char exact[REP_NUMBER];

    if (page->html)
        sd_str_add(page->s, "<data value=\"%s\">%s</data>", rep_exact(exact, value, "NaN"), text);
    else
        sd_str_add(page->s, "%s", text);
}

void rep_number(rep_buffer *page, double value)
{
    char text[REP_NUMBER];

    add_number(page, value, rep_short(text, value));
}

void rep_change(rep_buffer *page, double value)
{
    char text[REP_NUMBER];

    add_number(page, value, rep_signed(text, value));
}

void rep_interval_of(rep_buffer *page, double low, double high)
{
    if (!rep_has_width(low, high))
        return;
    rep_say(page, " (");
    rep_number(page, low);
    rep_say(page, " … ");
    rep_number(page, high);
    rep_say(page, ")");
}

void rep_link(rep_buffer *page, const char *file, const char *words)
{
    if (page->html) {
        sd_str_add(page->s, "<a href=\"");
        rep_html(page->s, file);
        sd_str_add(page->s, "\">");
        rep_html(page->s, words);
        sd_str_add(page->s, "</a>");
    } else {
        sd_str_add(page->s, "[%s](%s)", words, file);
    }
}

void rep_jump_open(rep_buffer *page, const char *id)
{
    if (page->html)
        sd_str_add(page->s, "<a href=\"#%s\">", id);
}

void rep_jump_close(rep_buffer *page)
{
    if (page->html)
        sd_str_add(page->s, "</a>");
}

void rep_table_open(rep_buffer *page, const char *const *columns, size_t count)
{
    if (page->html) {
        sd_str_add(page->s, "<div class=\"scroll\"><table class=\"");
        for (size_t i = 0; i < count; i++)
            sd_str_add(page->s, "%s%c%zu", i ? " " : "", columns[i][0] == '>' ? 'r' : 'l', i + 1);
        sd_str_add(page->s, "\">\n<thead><tr>");
        for (size_t i = 0; i < count; i++) {
            sd_str_add(page->s, "<th scope=\"col\">");
            rep_html(page->s, columns[i] + 1);
            sd_str_add(page->s, "</th>");
        }
        sd_str_add(page->s, "</tr></thead>\n<tbody>\n");
        return;
    }
    sd_str_add(page->s, "|");
    for (size_t i = 0; i < count; i++)
        sd_str_add(page->s, " %s |", columns[i] + 1);
    sd_str_add(page->s, "\n|");
    for (size_t i = 0; i < count; i++)
        sd_str_add(page->s, columns[i][0] == '>' ? " ---: |" : " --- |");
    sd_str_add(page->s, "\n");
}

void rep_table_close(rep_buffer *page)
{
    sd_str_add(page->s, page->html ? "</tbody></table></div>\n" : "\n");
}

void rep_row_open(rep_buffer *page)
{
    sd_str_add(page->s, page->html ? "<tr>" : "|");
}

void rep_row_close(rep_buffer *page)
{
    sd_str_add(page->s, page->html ? "</tr>\n" : "\n");
}

void rep_cell_open(rep_buffer *page)
{
    sd_str_add(page->s, page->html ? "<td>" : " ");
    page->in_cell = true;
}

void rep_cell_close(rep_buffer *page)
{
    sd_str_add(page->s, page->html ? "</td>" : " |");
    page->in_cell = false;
}

void rep_cell_say(rep_buffer *page, const char *format, ...)
{
    va_list args;

    rep_cell_open(page);
    va_start(args, format);
    say(page, format, args);
    va_end(args);
    rep_cell_close(page);
}

void rep_cell_text(rep_buffer *page, const char *text)
{
    rep_cell_open(page);
    rep_text(page, text);
    rep_cell_close(page);
}

void rep_cell_number(rep_buffer *page, double value)
{
    rep_cell_open(page);
    rep_number(page, value);
    rep_cell_close(page);
}

void rep_cell_change(rep_buffer *page, double value)
{
    rep_cell_open(page);
    rep_change(page, value);
    rep_cell_close(page);
}
