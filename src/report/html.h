/* index.html: the page with everything inside. Private to report. */
#ifndef SAEDIFF_REPORT_HTML_H
#define SAEDIFF_REPORT_HTML_H

#include "pages.h"

/* `folder` holds the plots; `plotly`: Plotly's minified script, for panels that answer to the pointer; NULL: plots only. */
void rep_html_page(const rep_study *study, const char *folder, const char *plotly, sd_str *s);

/* Data of all panels and the program that draws them. live.c */
void rep_live(const rep_study *study, sd_str *s);

#endif
