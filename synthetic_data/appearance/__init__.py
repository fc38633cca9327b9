"""What an identity looks like, as plain arrays: colour maps, strands, shells and light. No bpy here."""
