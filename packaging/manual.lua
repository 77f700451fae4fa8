-- How packaging/manual sets Markdown as a man page.

local escapes = {
  ["\\"] = "\\e", ["-"] = "\\-", ["'"] = "\\(aq", ["`"] = "\\(ga", ["^"] = "\\(ha", ["~"] = "\\(ti", ['"'] = "\\(dq",
}

-- Text that readers copy: every letter stays the one that was written.
local function literal(text)
  return (text:gsub("[\\'`^~\"-]", escapes))
end

local function bold(text)
  return pandoc.RawInline("man", "\\fB" .. literal(text) .. "\\fR")
end

function Code(code)
  return bold(code.text)
end

function CodeBlock(block)
  local lines = {}
  for line in (block.text .. "\n"):gmatch("(.-)\n") do
    line = literal(line)
    -- A period in the first column would be a request.
    table.insert(lines, line:match("^%.") and "\\&" .. line or line)
  end
  return pandoc.RawBlock("man", ".PP\n.RS 4\n.nf\n" .. table.concat(lines, "\n") .. "\n.fi\n.RE")
end

-- Links to other pages are shown as names, all others with their address.
function Link(link)
  if link.target:match("%.md$") or link.target:match("%.md#") or link.target:match("^#") then
    return bold(pandoc.utils.stringify(link.content))
  end
  local text = pandoc.utils.stringify(link.content)
  if text == link.target then
    return pandoc.RawInline("man", literal(text))
  end
  return { pandoc.Span(link.content), pandoc.RawInline("man", " <" .. literal(link.target) .. ">") }
end

-- Comments are for those who edit the source.
function RawBlock(block)
  if block.format == "html" then return {} end
end

-- A table becomes a list of terms: the first column holds the terms, the others explain them. Its head is for the web.
function Table(table_)
  local items = {}
  for _, body in ipairs(table_.bodies) do
    for _, row in ipairs(body.body) do
      local term = pandoc.utils.blocks_to_inlines(row.cells[1].contents)
      local text = {}
      for column = 2, #row.cells do
        local inlines = pandoc.utils.blocks_to_inlines(row.cells[column].contents)
        if #inlines > 0 then
          if #text > 0 then table.insert(text, pandoc.Str(";")) table.insert(text, pandoc.Space()) end
          for _, inline in ipairs(inlines) do table.insert(text, inline) end
        end
      end
      table.insert(items, { term, { { pandoc.Plain(text) } } })
    end
  end
  return pandoc.DefinitionList(items)
end

-- Lines are not broken within words: an option or a path must stay in one piece.
function Pandoc(document)
  document.blocks:insert(1, pandoc.RawBlock("man", ".nh\n.ad l"))
  return document
end
