/* The frame of the HTML page: head, style and script. Nothing is fetched when the page is opened. */
#include "html.h"

#include <strings.h>

#include "page_buffer.h"

/* Plots are dark on a transparent background; in dark mode their lightness is inverted and their hue kept. */
static const char style[] =
    ":root{color-scheme:light dark;--ink:#1c1e21;--soft:#5b6068;--line:#dcdfe4;--paper:#fff;--band:#f5f6f8;--link:#0b5cad;--warn:#fff3dc}\n"
    "@media (prefers-color-scheme:dark){:root{--ink:#e4e6ea;--soft:#a2a8b2;--line:#383c43;--paper:#15171a;--band:#1e2125;--link:#7db8f5;"
    "--warn:#3a2f16}figure img{filter:invert(1) hue-rotate(180deg)}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0 auto;padding:1rem 1rem 4rem;max-width:76rem;font:16px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',"
    "sans-serif;color:var(--ink);background:var(--paper);overflow-wrap:anywhere}\n"
    "h1{font-size:1.9rem;line-height:1.2;margin:1rem 0 .5rem}\n"
    "h2{font-size:1.35rem;line-height:1.3;margin:2.6rem 0 .6rem;padding-top:.8rem;border-top:1px solid var(--line)}\n"
    "h3{font-size:1.05rem;margin:1.6rem 0 .2rem}\n"
    "p,li{max-width:48rem}p{margin:.5rem 0}ul{padding-left:1.2rem}li{margin:.35rem 0}\n"
    "data{white-space:nowrap}a{color:var(--link)}td{white-space:nowrap}.l3:not(.l4,.r4) td:last-child{white-space:normal;min-width:14rem}code{font:.9em ui-monospace,SFMono-Regular,Menlo,'DejaVu Sans Mono',monospace}\n"
    ".warning{background:var(--warn);padding:.6rem .9rem;border-radius:.4rem}\n"
    ".scroll{overflow-x:auto;margin:.6rem 0 1rem}\n"
    "table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums;overflow-wrap:normal}\n"
    "th,td{padding:.28rem .7rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}\n"
    "th{color:var(--soft);font-weight:600;white-space:nowrap}tbody tr:hover{background:var(--band)}\n"
    ".r1 :is(th,td):nth-child(1),.r2 :is(th,td):nth-child(2),.r3 :is(th,td):nth-child(3),.r4 :is(th,td):nth-child(4),.r5 :is(th,td):nth-child(5),"
    ".r6 :is(th,td):nth-child(6),.r7 :is(th,td):nth-child(7),.r8 :is(th,td):nth-child(8),.r9 :is(th,td):nth-child(9),"
    ".r10 :is(th,td):nth-child(10),.r11 :is(th,td):nth-child(11),.r12 :is(th,td):nth-child(12),.r13 :is(th,td):nth-child(13),.r14 :is(th,td):nth-child(14){text-align:right;white-space:nowrap}\n"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,25rem),1fr));gap:1rem 2rem;margin:1rem 0}\n"
    ".wide{grid-column:1/-1}.wide img,.wide .panel,.wide figcaption{max-width:none}.plots:empty{display:none}figure{margin:0;min-width:0;break-inside:avoid}figure img{width:100%;max-width:44rem;height:auto;display:block}\n"
    "figcaption{font-size:.85rem;color:var(--soft);max-width:44rem}.panel{width:100%;max-width:44rem}\n"
    ".live img{display:none}\n"
    "@media print{body{max-width:none;font-size:10pt;padding:0}.scroll{overflow:visible}table{font-size:7.5pt}th,td{padding:.15rem .35rem}"
    "tr,figure,.warning{break-inside:avoid}h2,h3{break-after:avoid}a{color:inherit;text-decoration:none}"
    ".plots{grid-template-columns:1fr 1fr}.live img{display:block}.live img~.panel{display:none}figure img{filter:none}"
    ":root{--ink:#000;--soft:#444;--line:#bbb;--paper:#fff;--band:#fff;--warn:#fff}}\n";

/* A script's text inside an element: "</script" would end it early. In JavaScript it occurs in strings only, where
 * "<\/script" is the same. */
static void add_script(sd_str *s, const char *script)
{
    const char *from = script;

    for (const char *at = script; *at != '\0'; at++)
        if (at[0] == '<' && at[1] == '/' && strncasecmp(at + 2, "script", 6) == 0) {
            sd_str_add_bytes(s, from, (size_t)(at - from) + 1);
            sd_str_add(s, "\\");
            from = at + 1;
        }
    sd_str_add(s, "%s", from);
}

void rep_html_page(const rep_study *study, const char *folder, const char *plotly, sd_str *s)
{
    rep_buffer page = {.s = s, .html = true, .live = plotly != NULL, .folder = folder};

    sd_str_add(s, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                  "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
    rep_html(s, study->spec->title);
    sd_str_add(s, "</title>\n<style>\n%s</style>\n</head>\n<body>\n", style);
    rep_page(study, &page);
    if (plotly != NULL) {
        sd_str_add(s, "<script>\n");
        add_script(s, plotly);
        sd_str_add(s, "\n</script>\n");
        rep_live(study, s);
    }
    sd_str_add(s, "</body>\n</html>\n");
}
