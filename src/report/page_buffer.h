/* One text, two forms: the page buffer formats its content as Markdown or HTML. Private to report. Failures are kept in the text's status. */
#ifndef SAEDIFF_REPORT_PAGE_BUFFER_H
#define SAEDIFF_REPORT_PAGE_BUFFER_H

#include <stdbool.h>

#include "saediff/core/str.h"

typedef struct rep_buffer {
    sd_str *s;
    bool html;
    bool in_cell; /* a bar is text here, not the end of the cell */
    bool live; /* HTML with panels that a script draws */
    const char *folder; /* of the report, for plots to put in */
} rep_buffer;

typedef enum rep_block { REP_H1, REP_H2, REP_H3, REP_P, REP_LIST, REP_ITEM, REP_WARNING, REP_STRONG, REP_BLOCKS } rep_block;

/* `id` names the block for links of the HTML page; NULL for none. */
void rep_open(rep_buffer *page, rep_block block, const char *id);
void rep_close(rep_buffer *page, rep_block block);

/* The program's own words: `code` between backquotes, no other markup. Text of users goes through rep_text(). */
void rep_say(rep_buffer *page, const char *format, ...) SD_PRINTF(2, 3);
/* Any text, as it is: nothing in it becomes markup. */
void rep_text(rep_buffer *page, const char *text);
void rep_code(rep_buffer *page, const char *text);
/* A number for people; in HTML its 17 digits go with it (<data value>). */
void rep_number(rep_buffer *page, double value);
void rep_change(rep_buffer *page, double value); /* with its sign */
/* " (0.91 … 0.95)", nothing for an interval without width. */
void rep_interval_of(rep_buffer *page, double low, double high);
/* The words as a link: to a file in the page's folder; to a block of this page (Markdown has the words only). */
void rep_link(rep_buffer *page, const char *file, const char *words);
void rep_jump_open(rep_buffer *page, const char *id);
void rep_jump_close(rep_buffer *page);

/* Columns by title; '<' or '>' before it says to which side its cells lean. */
void rep_table_open(rep_buffer *page, const char *const *columns, size_t count);
void rep_table_close(rep_buffer *page);
void rep_row_open(rep_buffer *page);
void rep_row_close(rep_buffer *page);
void rep_cell_open(rep_buffer *page);
void rep_cell_close(rep_buffer *page);
void rep_cell_say(rep_buffer *page, const char *format, ...) SD_PRINTF(2, 3);
void rep_cell_text(rep_buffer *page, const char *text);
void rep_cell_number(rep_buffer *page, double value);
void rep_cell_change(rep_buffer *page, double value);

/* Text inside an HTML element or a quoted attribute. */
void rep_html(sd_str *s, const char *text);

#endif
